//! Zip files as apps. A zip file is unpacked into a temporary folder, which is removed with the app; so all that holds
//! for app folders holds for it, without a second implementation. The built-in files are given to scripts in the same
//! way.
//!
//! The folder is read-only. Since file modes do not stop root, `io` itself refuses to write where the folder's mode
//! forbids it. What the zip file holds compressed is kept as gzip, too, for clients that accept that.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, anyhow, ensure};
use tempfile::TempDir;
use zip::read::ZipFile;
use zip::{CompressionMethod, ZipArchive};

/// The first bytes of every zip file that is not empty.
const SIGNATURE: &[u8] = b"PK\x03\x04";
/// The most bytes of an unpacked app, so that a small zip file cannot fill the disk.
const MAX_SIZE: u64 = 1 << 30;
/// The most entries of a zip file.
const MAX_FILES: usize = 100_000;

/// An unpacked app, or other read-only files. The folder is removed when this is dropped.
pub struct Unpacked {
    root: PathBuf,
    /// A folder with the same files as gzip, as far as that makes them smaller.
    gzip: PathBuf,
    _folder: TempDir,
}

/// Whether the file begins as a zip file does.
pub fn is_archive(path: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    File::open(path)?.take(SIGNATURE.len() as u64).read_to_end(&mut start)?;
    Ok(start == SIGNATURE)
}

impl Unpacked {
    /// Unpacks a zip file. An error if it holds a path that leads out of the folder, a link, or an encrypted file.
    pub fn new(path: &Path) -> Result<Self> {
        Self::unpack(path, MAX_SIZE).with_context(|| format!("cannot unpack {}", path.display()))
    }

    /// The files may have `room` bytes in all.
    fn unpack(path: &Path, mut room: u64) -> Result<Self> {
        let file = File::open(path)?;
        // So that what browsers have cached stays valid as long as the zip file is the same.
        let modified = file.metadata()?.modified()?;
        let mut archive = ZipArchive::new(file)?;
        ensure!(archive.len() <= MAX_FILES, "it holds more than {MAX_FILES} files");
        let unpacked = Self::empty()?;
        for index in 0..archive.len() {
            let mut entry = archive.by_index(index)?;
            let name = entry.name()?.into_owned();
            let size = unpack_entry(&mut entry, &unpacked.root, room, modified)
                .with_context(|| format!("its entry {name}"))?;
            room -= size;
            drop(entry);
            keep_compressed(&mut archive.by_index_raw(index)?, &unpacked.gzip, modified)?;
        }
        unpacked.close()?;
        Ok(unpacked)
    }

    /// A folder with these files: name and content.
    pub fn of(files: &[(&str, &[u8])]) -> io::Result<Self> {
        let unpacked = Self::empty()?;
        for (name, content) in files {
            fs::write(unpacked.root.join(name), content)?;
        }
        unpacked.close()?;
        Ok(unpacked)
    }

    fn empty() -> io::Result<Self> {
        // The zip file may hold passwords, and be readable by the server alone.
        let only_own = Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().prefix("smq-app-").permissions(only_own).tempdir()?;
        let path = folder.path().canonicalize()?;
        let (root, gzip) = (path.join("app"), path.join("gzip"));
        fs::create_dir(&root)?;
        Ok(Self { root, gzip, _folder: folder })
    }

    /// Makes the folder read-only.
    fn close(&self) -> io::Result<()> {
        fs::set_permissions(&self.root, Permissions::from_mode(0o555))
    }

    /// The folder, with all symbolic links resolved.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The gzip form of a file of the folder, if there is one.
    pub fn gzip_of(&self, file: &Path) -> Option<PathBuf> {
        let gzip = self.gzip.join(file.strip_prefix(&self.root).ok()?);
        gzip.is_file().then_some(gzip)
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        // Otherwise its files could not be removed. If this fails, they stay in the system's temporary folder.
        let _ = fs::set_permissions(&self.root, Permissions::from_mode(0o755));
    }
}

/// Writes one file or folder; returns its size, which is at most `room`.
fn unpack_entry(entry: &mut ZipFile<impl Read>, root: &Path, room: u64, modified: SystemTime) -> Result<u64> {
    let inside = entry.enclosed_name().ok_or_else(|| anyhow!("leads out of the app"))?;
    ensure!(!entry.is_symlink(), "is a link");
    let path = root.join(inside);
    if entry.is_dir() {
        fs::create_dir_all(path)?;
        return Ok(0);
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = File::create(path)?;
    let declared = entry.size();
    let size = io::copy(&mut entry.take(room + 1), &mut file)?;
    ensure!(size <= room, "makes the app larger than {MAX_SIZE} bytes");
    // The checksum is compared at the end of the data, the size is not.
    ensure!(size == declared, "has {size} bytes, and {declared} are declared");
    file.set_modified(modified)?;
    Ok(size)
}

/// Writes the compressed data of an entry as a gzip file (RFC 1952), unless that is not smaller. The entry has been
/// unpacked before, so its name, size and checksum hold.
fn keep_compressed(entry: &mut ZipFile<impl Read>, gzip: &Path, modified: SystemTime) -> Result<()> {
    const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    const FRAME: u64 = 18;
    if entry.compression() != CompressionMethod::Deflated || entry.compressed_size() + FRAME >= entry.size() {
        return Ok(());
    }
    let path = gzip.join(entry.enclosed_name().ok_or_else(|| anyhow!("leads out of the app"))?);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = File::create(path)?;
    file.write_all(&HEAD)?;
    io::copy(entry, &mut file)?;
    file.write_all(&entry.crc32().to_le_bytes())?;
    // Modulo 2^32, as the format has it; the app is smaller anyway.
    file.write_all(&(entry.size() as u32).to_le_bytes())?;
    file.set_modified(modified)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn archive(fill: impl FnOnce(&mut ZipWriter<&File>)) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = ZipWriter::new(file.as_file());
        fill(&mut writer);
        writer.finish().unwrap();
        file
    }

    fn reason(file: &tempfile::NamedTempFile) -> String {
        format!("{:#}", Unpacked::new(file.path()).err().expect("it is refused"))
    }

    #[test]
    fn an_unpacked_app_has_the_files_of_its_archive_and_leaves_nothing_behind() {
        let file = archive(|zip| {
            zip.add_directory("a", SimpleFileOptions::default()).unwrap();
            zip.start_file("a/b.txt", SimpleFileOptions::default()).unwrap();
            zip.write_all(b"hello").unwrap();
            zip.add_directory("empty", SimpleFileOptions::default()).unwrap();
        });
        assert!(is_archive(file.path()).unwrap());
        let unpacked = Unpacked::new(file.path()).unwrap();
        let root = unpacked.root().to_owned();
        assert_eq!(fs::read(root.join("a/b.txt")).unwrap(), b"hello");
        assert!(root.join("empty").is_dir());
        drop(unpacked);
        assert!(!root.parent().unwrap().exists());
    }

    #[test]
    fn an_archive_that_leads_out_of_its_folder_is_refused() {
        for name in ["../evil", "a/../../evil"] {
            let file = archive(|zip| zip.start_file(name, SimpleFileOptions::default()).unwrap());
            assert!(reason(&file).ends_with(&format!("its entry {name}: leads out of the app")), "{}", reason(&file));
        }
        let file = archive(|zip| zip.add_symlink("link", "/etc/passwd", SimpleFileOptions::default()).unwrap());
        assert!(reason(&file).ends_with("is a link"), "{}", reason(&file));
    }

    #[test]
    fn an_entry_of_another_size_than_it_declares_is_refused() {
        let file = archive(|zip| {
            zip.start_file("a.txt", SimpleFileOptions::default()).unwrap();
            zip.write_all(&[b'x'; 1000]).unwrap();
        });
        let mut bytes = fs::read(file.path()).unwrap();
        // In the entry of the central directory.
        let directory = bytes.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
        bytes[directory + 24..][..4].copy_from_slice(&2000_u32.to_le_bytes());
        fs::write(file.path(), bytes).unwrap();
        assert!(reason(&file).ends_with("its entry a.txt: has 1000 bytes, and 2000 are declared"), "{}", reason(&file));
    }

    #[test]
    fn all_entries_together_have_to_fit() {
        let file = archive(|zip| {
            for name in ["a.txt", "b.txt"] {
                zip.start_file(name, SimpleFileOptions::default()).unwrap();
                zip.write_all(b"hello").unwrap();
            }
        });
        assert!(Unpacked::unpack(file.path(), 10).is_ok());
        let refused = Unpacked::unpack(file.path(), 9).err().expect("it is refused");
        assert!(format!("{refused:#}").starts_with("its entry b.txt: makes the app larger than "), "{refused:#}");
    }

    #[test]
    fn what_was_unpacked_is_as_old_as_its_archive_so_that_caches_outlive_a_restart() {
        let file = archive(|zip| {
            zip.start_file("a.txt", SimpleFileOptions::default()).unwrap();
            zip.write_all(&[b'x'; 1000]).unwrap();
        });
        let modified = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        file.as_file().set_modified(modified).unwrap();
        let unpacked = Unpacked::new(file.path()).unwrap();
        let plain = unpacked.root().join("a.txt");
        let gzip = unpacked.gzip_of(&plain).expect("it is compressed");
        for path in [plain, gzip] {
            assert_eq!(path.metadata().unwrap().modified().unwrap(), modified, "{}", path.display());
        }
    }

    #[test]
    fn a_file_that_is_no_archive_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "PK\x03\x04 and nothing").unwrap();
        assert!(reason(&file).starts_with("cannot unpack "));
        fs::write(file.path(), "#!/bin/sh").unwrap();
        assert!(!is_archive(file.path()).unwrap());
    }
}
