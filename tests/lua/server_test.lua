-- What scripts may know of the server around them.
test("mako has all its documented fields", function()
   same(type(mako.createloader), "function")
   same(type(mako.onexit), "function")
   same(type(mako.argv), "table")
   same(type(mako.execpath), "string")
   same(type(mako.conf), "table")
   same(mako.udb, nil)
end)

test("loadconf is the configuration", function()
   assert(require"loadconf" == mako.conf)
end)

test("onexit wants a function", function()
   assert(raises(mako.onexit, 1):find("bad argument #1 'function' to 'mako.onexit'", 1, true))
end)
