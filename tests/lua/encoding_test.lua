-- ba.b64encode and its like.

test("base64 in both alphabets", function()
   same(ba.b64encode"\xfb\xff\xfe", "+//+")
   same(ba.b64urlencode"\xfb\xff\xfe", "-__-")
   same(ba.b64encode"a", "YQ==")
   same(ba.b64urlencode"a", "YQ")
   same(ba.b64encode"", "")
end)

test("either alphabet is read, with padding or without", function()
   for _, text in ipairs{ "+//+", "-__-", " +/\r\n/+ " } do same(ba.b64decode(text), "\xfb\xff\xfe") end
   same(ba.b64decode"YQ==", "a")
   same(ba.b64decode"YQ", "a")
   same(ba.b64decode"", "")
   local data = ("\0\1\xfe\xff"):rep(100000)
   same(ba.b64decode(ba.b64encode(data)) == data, true)
end)

test("what is read stands alone among other arguments", function()
   local texts = {}
   table.insert(texts, ba.b64decode"YQ")
   table.insert(texts, ba.aesdecode(("k"):rep(16), ba.aesencode(("k"):rep(16), "b")))
   same(texts, { "a", "b" })
end)

test("what is no base64 gives nil", function()
   for _, text in ipairs{ "Y", "YR", "Y!==", "\xff\xff", "====" } do
      same({ ba.b64decode(text) }, { nil, "no base64" })
   end
end)

test("text in a URL", function()
   same(ba.urlencode"a b/c?d=e&f+g~h-i_j.k", "a%20b%2Fc%3Fd%3De%26f%2Bg~h-i_j.k")
   same(ba.urlencode"\0\xff", "%00%FF")
   same(ba.urldecode"a+b%20c%2Bd", "a b c+d")
   same(ba.urldecode"100% %zz %4", "100% %zz %4")
   same(ba.urldecode(ba.urlencode"\0h\u{e9}\u{1f600}&"), "\0h\u{e9}\u{1f600}&")
   same(ba.urldecode"", "")
end)

test("wrong arguments are named", function()
   for _, name in ipairs{ "b64encode", "b64urlencode", "b64decode", "urlencode", "urldecode" } do
      assert(raises(ba[name]):find("to 'ba." .. name .. "' (string expected, got no value)", 1, true))
      assert(raises(ba[name], {}):find("string expected, got table", 1, true))
      assert(ba[name](1234))
   end
end)
