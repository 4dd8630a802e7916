-- ba.crypto.hash, ba.aeskey and their like.

local hash = ba.crypto.hash

local function complains(what, ...)
   local problem = raises(...)
   if not problem:find(what, 1, true) then error(problem, 2) end
end

test("the hashes of the standards", function()
   same(hash"md5""abc"(true, "hex"), "900150983cd24fb0d6963f7d28e17f72")
   same(hash"sha1""abc"(true, "hex"), "a9993e364706816aba3e25717850c26c9cd0d89d")
   same(hash"sha224""abc"(true, "hex"), "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7")
   same(hash"sha256""abc"(true, "hex"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
   same(#hash"sha384"(true), 48)
   same(#hash"sha512"(true), 64)
   same(hash"sha512""abc"(true, "hex"):sub(1, 16), "ddaf35a193617aba")
end)

test("a hash is fed in steps, bytes of every value and nothing at all", function()
   same(hash"sha256""a""b"("")"c"(true), hash"sha256""abc"(true))
   same(hash"sha1""\0\xff"(true), hash"sha1""\0""\xff"(true))
   same(hash"md5"(true, "hex"), "d41d8cd98f00b204e9800998ecf8427e")
end)

test("a keyed hash", function()
   local key, data = "key", "The quick brown fox jumps over the lazy dog"
   same(hash("hmac", "md5", key)(data)(true, "hex"), "80070713463e7749b90c2dc24911e275")
   same(hash("hmac", "sha1", key)(data)(true, "hex"), "de7c9b85b8b78aa6bc8a7a36f70a90701c9db4d9")
   same(hash("hmac", "sha256", key)(data)(true, "hex"),
      "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8")
   same(#hash("hmac", "sha256", "")""(true), 32)
   same(#hash("hmac", "sha512", ("k"):rep(1000))""(true), 64)
end)

test("the result in each form", function()
   same(hash"md5""abc"(true, "b64"), "kAFQmDzST7DWlj99KOF/cg==")
   same(hash"md5""abc"(true, "b64url"), "kAFQmDzST7DWlj99KOF_cg")
   same(hash"md5""abc"(true, "binary"), hash"md5""abc"(true))
end)

test("asking for a form that there is not costs no hash", function()
   local abc = hash"md5""abc"
   complains("bad argument #2 'form' to 'hash'", abc, true, "HEX")
   same(abc(true, "hex"), "900150983cd24fb0d6963f7d28e17f72")
end)

test("a hash is wrong in what it is told, and used up by its result", function()
   complains("bad argument #1 'name' to 'ba.crypto.hash' (string expected, got no value)", hash)
   complains([["sha512" expected, got "sha3"]], hash, "sha3")
   complains([[#2 'name' to 'ba.crypto.hash' ("md5"]], hash, "hmac", "rot13", "key")
   complains("#3 'key' to 'ba.crypto.hash' (string expected, got no value)", hash, "hmac", "sha1")
   complains("string, or true for the result, expected, got nil", hash"md5", nil)
   complains("expected, got 5", hash"md5", 5)
   complains([["b64url" expected, got "base32"]], hash"md5", true, "base32")
   local used = hash"md5"
   used(true)
   complains("the result has been taken already", used, true)
   complains("the result has been taken already", used, "x")
end)

test("a sealed text is read with its key alone", function()
   for _, key in ipairs{ ba.aeskey(), ba.aeskey(16), ba.aeskey(32), ("k"):rep(16), ba.aeskey(("k"):rep(32)) } do
      for _, text in ipairs{ "", "secret", ("\0\xff"):rep(50000) } do
         local sealed = ba.aesencode(key, text)
         same(ba.aesdecode(key, sealed), text)
         same(sealed:find"[^%w_-]", nil)
         assert(ba.aesencode(key, text) ~= sealed)
         same({ ba.aesdecode(ba.aeskey(), sealed) }, { nil, "not sealed with this key" })
      end
   end
end)

test("a sealed text that was changed or cut is refused", function()
   local key = ba.aeskey()
   local sealed = ba.aesencode(key, "secret")
   same(ba.aesdecode(key, sealed:sub(1, -2) .. (sealed:sub(-1) == "A" and "Q" or "A")), nil)
   for length = 0, #sealed - 1 do same((ba.aesdecode(key, sealed:sub(1, length))), nil) end
   same((ba.aesdecode(key, "no base64!")), nil)
end)

test("wrong keys are named", function()
   complains("'size' to 'ba.aeskey' (16 or 32 expected, got 24)", ba.aeskey, 24)
   complains("'key' to 'ba.aeskey' (16 or 32 bytes expected, got 5)", ba.aeskey, "short")
   complains("'size' to 'ba.aeskey' (integer expected, got table)", ba.aeskey, {})
   complains("'key' to 'ba.aesencode' (key expected, got no value)", ba.aesencode)
   complains("'key' to 'ba.aesencode' (16 or 32 bytes expected, got 1)", ba.aesencode, "x", "text")
   complains("'text' to 'ba.aesencode' (string expected, got no value)", ba.aesencode, ba.aeskey())
   complains("'sealed' to 'ba.aesdecode' (string expected, got table)", ba.aesdecode, ba.aeskey(), {})
end)
