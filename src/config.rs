//! The command line, the configuration file, and the [`Config`] that both give.

mod file;
pub mod value;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};

use crate::bench::args::BenchArgs;
use crate::lsp::AppSpec;
use crate::lua::budget::Budget;
use file::ConfigFile;
use value::ConfigValue;

const DEFAULT_HOST: &str = "127.0.0.1";
const DEFAULT_PORT: u16 = 8080;
const DEFAULT_MAX_CONNECTIONS: NonZeroUsize = NonZeroUsize::new(100_000).unwrap();

const LOG_HELP: &str = "\
The log goes to standard error. The environment variable RUST_LOG sets its level: error, warn, info (the default) or debug.";

/// A Lua-scriptable message server.
#[derive(Debug, Parser)]
#[command(name = "smq", version, about)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve one or more apps: folders or zip files
    #[command(override_usage = "smq serve [OPTIONS] [[NAME]:[PRIO]:]PATH...", after_help = LOG_HELP)]
    Serve(ServeArgs),
    /// Put a load on a broker and measure it
    Bench(BenchArgs),
    /// Run Lua test scripts (*_test.lua) against a server on a free port
    Test(TestArgs),
}

/// The command line of `smq test`.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// Folder with the test scripts, which may be in subfolders; served as the app unless --app names another
    pub dir: PathBuf,
    /// Run only the scripts whose path contains this
    pub filter: Option<String>,
    /// `[[NAME]:[PRIO]:]PATH`: an app to test; may be given several times
    #[arg(long = "app", value_name = "APP")]
    pub apps: Vec<AppSpec>,
    #[command(flatten)]
    pub scripts: ScriptArgs,
}

/// What scripts may do, on both command lines.
#[derive(Debug, Args)]
pub struct ScriptArgs {
    /// Milliseconds that a script may run without waiting before the log tells where it is; 0 for never [default: 50]
    #[arg(long, value_name = "MS")]
    pub script_warning: Option<u64>,
    /// Milliseconds that a script may run without waiting before it is stopped; 0 for no limit [default: 1000]
    #[arg(long, value_name = "MS")]
    pub script_limit: Option<u64>,
    /// Let scripts run programs (ba.exec, ba.forkpty, os.execute, io.popen)
    #[arg(long)]
    pub allow_exec: bool,
}

/// The command line of `smq serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// `[[NAME]:[PRIO]:]PATH`: the app folder or zip file PATH, served at / or at /NAME/ (PRIO -127 to 127, default 0; the highest is asked first)
    #[arg(value_name = "APP")]
    pub apps: Vec<AppSpec>,
    /// One more APP, as start scripts of other Barracuda servers name them: `-l[NAME]:[PRIO]:PATH`
    #[arg(short, value_name = "APP")]
    pub linked: Vec<AppSpec>,
    /// Address or host name to listen on [default: 127.0.0.1]
    #[arg(long)]
    pub host: Option<String>,
    /// Port for HTTP; 0 takes a free one [default: 8080]
    #[arg(long)]
    pub port: Option<u16>,
    /// Port for HTTPS; 0 takes a free one
    #[arg(long)]
    pub tls_port: Option<u16>,
    /// Certificate chain for HTTPS, in PEM form; read again when it changes
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Private key for HTTPS, in PEM form
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Folder with further files for /rtl/, such as jquery.js (by default Debian's libjs-jquery, if installed)
    #[arg(long, value_name = "FOLDER")]
    pub rtl: Option<PathBuf>,
    /// For development: show errors with traceback, and traces (/rtl/trace/), in the browser, and load apps again when their Lua files change
    #[arg(long)]
    pub dev: bool,
    /// Configuration file in Lua: host, port, sslhost, sslport, certificate, users, apps, scriptwarning, scriptlimit, allowexec. What the command line says takes precedence
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Threads that serve connections [default: one per processor but one, which is for Lua]
    #[arg(long, value_name = "N")]
    pub shards: Option<NonZeroUsize>,
    /// The most connections at a time
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_CONNECTIONS)]
    pub max_connections: NonZeroUsize,
    /// The most connections at a time from one address, of IPv6 from one network of 64 bits; 0 for no limit
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_connections_per_address: usize,
    #[command(flatten)]
    pub scripts: ScriptArgs,
}

/// What to serve, where, and within which limits.
#[derive(Debug, PartialEq)]
pub struct Config {
    /// The address or host name to listen on.
    pub host: String,
    /// The port for HTTP; 0 for a free one.
    pub port: u16,
    /// `None` if HTTPS is not served.
    pub tls: Option<TlsConfig>,
    pub apps: Vec<AppSpec>,
    /// The number of threads that serve connections.
    pub shards: NonZeroUsize,
    /// The most connections at a time.
    pub max_connections: usize,
    /// The most connections at a time from one address, of IPv6 from one network of 64 bits; 0 for no limit.
    pub max_connections_per_address: usize,
    /// How long a script may run without waiting.
    pub budget: Budget,
    /// Whether browsers are shown the errors of scripts, and apps are reloaded when they change.
    pub is_dev: bool,
    /// A folder with further files for `/rtl/`.
    pub rtl: Option<PathBuf>,
    /// All fields of the configuration file, for scripts to read.
    pub conf: Vec<(ConfigValue, ConfigValue)>,
    /// Whether scripts may run programs.
    pub allow_exec: bool,
}

/// Where HTTPS is served, and with which certificate.
#[derive(Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// The address or host name to listen on.
    pub host: String,
    /// The port; 0 for a free one.
    pub port: u16,
    /// The certificate chain, in PEM form.
    pub certificate: PathBuf,
    /// The private key, in PEM form.
    pub key: PathBuf,
}

impl Config {
    /// Reads the configuration file, if one is named, and adds the command line, which has precedence.
    pub fn from_args(args: ServeArgs) -> Result<Self> {
        let file = args.config.as_deref().map(ConfigFile::read).transpose()?.unwrap_or_default();
        let apps = [args.apps, args.linked].concat();
        let pair = args.cert.zip(args.key).or(file.certificate);
        // An address on the command line is for both ports.
        let tls_host = args.host.clone().or(file.tls_host).or_else(|| file.host.clone());
        let scripts = args.scripts;
        let budget = budget(scripts.script_warning.or(file.script_warning), scripts.script_limit.or(file.script_limit));
        Ok(Self {
            host: args.host.or(file.host).unwrap_or_else(|| DEFAULT_HOST.to_owned()),
            port: args.port.or(file.port).unwrap_or(DEFAULT_PORT),
            tls: tls(tls_host, args.tls_port, file.tls_port, pair)?,
            apps: if apps.is_empty() { file.apps } else { apps },
            shards: args.shards.unwrap_or_else(default_shards),
            max_connections: args.max_connections.get(),
            max_connections_per_address: args.max_connections_per_address,
            budget,
            is_dev: args.dev,
            rtl: args.rtl,
            conf: file.all,
            allow_exec: scripts.allow_exec || file.allow_exec,
        })
    }

    /// A server for `smq test`: on a free port of the loopback interface, with errors shown.
    pub fn for_tests(args: TestArgs) -> Self {
        let own = || AppSpec { name: String::new(), priority: 0, path: args.dir.clone() };
        Self {
            host: DEFAULT_HOST.to_owned(),
            port: 0,
            tls: None,
            apps: if args.apps.is_empty() { vec![own()] } else { args.apps },
            shards: default_shards(),
            max_connections: DEFAULT_MAX_CONNECTIONS.get(),
            max_connections_per_address: 0,
            allow_exec: args.scripts.allow_exec,
            budget: budget(args.scripts.script_warning, args.scripts.script_limit),
            is_dev: true,
            rtl: None,
            conf: Vec::new(),
        }
    }
}

/// The budget of scripts, given in milliseconds.
fn budget(warning: Option<u64>, limit: Option<u64>) -> Budget {
    let usual = Budget::default();
    let or = |given: Option<u64>, usual| given.map_or(usual, Duration::from_millis);
    Budget { warning: or(warning, usual.warning), limit: or(limit, usual.limit) }
}

/// Where HTTPS is served. A port without a certificate is an error on the command line. In the configuration file it is only
/// a warning, since the file may have been written for a server that comes with a certificate of its own.
fn tls(
    host: Option<String>,
    flag: Option<u16>,
    configured: Option<u16>,
    pair: Option<(PathBuf, PathBuf)>,
) -> Result<Option<TlsConfig>> {
    const WANTING: &str =
        "HTTPS needs a certificate: name one with --cert and --key, or `certificate` in the configuration";
    match (flag.or(configured), pair) {
        (None, None) => Ok(None),
        (Some(port), Some((certificate, key))) => {
            let host = host.unwrap_or_else(|| DEFAULT_HOST.to_owned());
            Ok(Some(TlsConfig { host, port, certificate, key }))
        }
        (Some(_), None) if flag.is_some() => bail!(WANTING),
        (Some(port), None) => {
            tracing::warn!("nothing is served at `sslport` {port}: {WANTING}");
            Ok(None)
        }
        (None, Some(_)) => {
            bail!("a certificate is named, but no port for HTTPS: add --tls-port, or `sslport` in the configuration")
        }
    }
}

/// One thread per processor; but one processor is left to the Lua thread.
fn default_shards() -> NonZeroUsize {
    let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    NonZeroUsize::new(processors - 1).unwrap_or(NonZeroUsize::MIN)
}

impl FromStr for AppSpec {
    type Err = String;

    /// Reads `PATH` or `NAME:PRIO:PATH`, where NAME and PRIO may be empty. A slash before the first colon makes all of
    /// it a path.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<_> = text.splitn(3, ':').collect();
        let [name, priority, path] = parts[..] else { return app_spec("", 0, text) };
        if name.contains('/') {
            return app_spec("", 0, text);
        }
        let priority = if priority.is_empty() { Ok(0) } else { priority.parse() };
        app_spec(name, priority.map_err(|_| format!("the priority in `{text}` is not a number"))?, path)
    }
}

/// Checks the parts of an [`AppSpec`].
fn app_spec(name: &str, priority: i64, path: &str) -> Result<AppSpec, String> {
    if path.is_empty() {
        return Err("the path of the app is empty".to_owned());
    }
    let name = name.trim_matches('/');
    if name.starts_with('.') {
        return Err(format!("the app name {name} begins with a dot: such paths are never served"));
    }
    let priority = i32::try_from(priority).ok().filter(|priority| (-127..=127).contains(priority));
    let priority = priority.ok_or_else(|| format!("the priority of the app {path} is not within -127 to 127"))?;
    Ok(AppSpec { name: name.to_owned(), priority, path: path.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, priority: i32, path: &str) -> AppSpec {
        AppSpec { name: name.into(), priority, path: path.into() }
    }

    /// What `smq serve` makes of these arguments.
    fn config(arguments: &[&str]) -> Config {
        let cli = Cli::parse_from(["smq", "serve"].iter().chain(arguments));
        let Command::Serve(args) = cli.command else { panic!("not {:?}", cli.command) };
        Config::from_args(args).unwrap()
    }

    #[test]
    fn an_app_is_named_by_path_alone_or_with_name_and_priority() {
        assert_eq!("www".parse(), Ok(spec("", 0, "www")));
        assert_eq!("::www".parse(), Ok(spec("", 0, "www")));
        assert_eq!("shop::www".parse(), Ok(spec("shop", 0, "www")));
        assert_eq!("shop:-5:www:1".parse(), Ok(spec("shop", -5, "www:1")));
        assert_eq!("/a:b:c".parse(), Ok(spec("", 0, "/a:b:c")));
    }

    #[test]
    fn an_app_without_a_path_or_with_a_priority_out_of_range_is_refused() {
        for text in ["", "::", "a:b:c", "a:128:c", "a:-128:c"] {
            assert!(text.parse::<AppSpec>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_app_may_be_named_behind_a_flag() {
        let apps = config(&["-l::www", "-lshop:5:s", "-l", "x", "first"]).apps;
        assert_eq!(apps, [spec("", 0, "first"), spec("", 0, "www"), spec("shop", 5, "s"), spec("", 0, "x")]);
    }

    #[test]
    fn a_port_for_https_needs_a_certificate_only_where_a_flag_names_it() {
        let pair = || Some(("c.pem".into(), "k.pem".into()));
        let port = |flag, configured, pair| tls(None, flag, configured, pair).map(|tls| tls.map(|tls| tls.port));
        assert!(port(Some(1), None, None).unwrap_err().to_string().contains("--cert"));
        assert!(port(None, None, pair()).unwrap_err().to_string().contains("--tls-port"));
        assert_eq!(port(None, Some(2), None).unwrap(), None);
        assert_eq!(port(Some(1), Some(2), pair()).unwrap(), Some(1));
        assert_eq!(port(None, Some(2), pair()).unwrap(), Some(2));
    }

    #[test]
    fn https_may_have_an_address_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("smq.conf");
        let hosts = |conf: &str, flags: &[&str]| {
            std::fs::write(&path, format!("sslport = 1; certificate = {{'c', 'k'}}; {conf}")).unwrap();
            let config = config(&[&["-c", path.to_str().unwrap()], flags].concat());
            (config.host, config.tls.unwrap().host)
        };
        let pair = |one: &str, other: &str| (one.to_owned(), other.to_owned());
        assert_eq!(hosts("", &[]), pair(DEFAULT_HOST, DEFAULT_HOST));
        assert_eq!(hosts("host = 'a'", &[]), pair("a", "a"));
        assert_eq!(hosts("host = 'a'; sslhost = 'b'", &[]), pair("a", "b"));
        assert_eq!(hosts("sslhost = 'b'", &["--host", "c"]), pair("c", "c"));
    }

    #[test]
    fn flags_have_precedence_over_the_configuration_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("smq.conf");
        std::fs::write(&path, "port = 1; host = 'h'; apps = {'a'}; scriptlimit = 5").unwrap();
        let config = config(&["b", "-c", path.to_str().unwrap(), "--port", "2"]);
        assert_eq!((config.port, config.host.as_str(), config.apps), (2, "h", vec![spec("", 0, "b")]));
        assert_eq!(config.budget, Budget { limit: Duration::from_millis(5), ..Budget::default() });
    }
}
