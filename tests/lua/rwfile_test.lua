local rwfile = require "rwfile"

--- A file system in a table, which also checks that every file is closed.
local function new_io(files)
   local io = { files = files or {}, opened = 0 }
   function io:open(name, mode)
      if mode == "r" and not self.files[name] then
         return nil, "enoent"
      elseif name == "locked" then
         return nil, "noaccess"
      end
      self.opened = self.opened + 1
      local file = {}
      function file.read(_, what)
         same(what, "*a")
         return self.files[name]
      end
      function file.write(_, data)
         if name == "full" then
            return nil, "nospace"
         end
         self.files[name] = data
         return true
      end
      function file.close()
         self.opened = self.opened - 1
         return true
      end
      return file
   end
   return io
end

test("file reads a whole file", function()
   local io = new_io { ["a.txt"] = "text\n" }
   same(rwfile.file(io, "a.txt"), "text\n")
   same(io.opened, 0)
end)

test("an empty file is an empty string", function()
   same(rwfile.file(new_io { empty = "" }, "empty"), "")
end)

test("file that is missing gives nil and enoent", function()
   local text, reason = rwfile.file(new_io(), "a.txt")
   same(text, nil)
   same(reason, "enoent")
end)

test("file writes data and answers true", function()
   local io = new_io()
   same(rwfile.file(io, "a.txt", "new"), true)
   same(io.files["a.txt"], "new")
   same(rwfile.file(io, "a.txt", ""), true)
   same(io.files["a.txt"], "")
   same(io.opened, 0)
end)

test("failures to write give nil and the reason", function()
   local io = new_io()
   for name, expected in pairs { locked = "noaccess", full = "nospace" } do
      local ok, reason = rwfile.file(io, name, "x")
      same(ok, nil)
      same(reason, expected)
   end
   same(io.opened, 0)
end)

test("json writes and reads a table", function()
   local io = new_io()
   same(rwfile.json(io, "a.json", { list = { 1, 2 } }), true)
   same(io.files["a.json"], '{"list":[1,2]}')
   same(rwfile.json(io, "a.json").list[2], 2)
end)

test("json skips a byte order mark and comments", function()
   local io = new_io { ["menu.json"] = '\xEF\xBB\xBF{"name": "x", // note\n}' }
   same(rwfile.json(io, "menu.json").name, "x")
end)

test("bad json gives nil and jsonerr", function()
   local value, reason = rwfile.json(new_io { bad = "{" }, "bad")
   same(value, nil)
   same(reason, "jsonerr")
end)

test("json file that is missing gives nil and enoent", function()
   local value, reason = rwfile.json(new_io(), "a.json")
   same(value, nil)
   same(reason, "enoent")
end)

test("data that cannot be written leaves the file as it is", function()
   local io = new_io { ["a.txt"] = "text" }
   for _, bad in ipairs { {}, false, print } do
      local problem = raises(rwfile.file, io, "a.txt", bad)
      assert(problem:find("bad argument #3 'data' to 'rwfile.file' (string expected, got " .. type(bad), 1, true), problem)
   end
   same(io.files["a.txt"], "text")
   same(io.opened, 0)
   same(rwfile.file(io, "a.txt", 5), true)
end)

test("only a table is written as json", function()
   local io = new_io { ["a.json"] = "{}" }
   local problem = raises(rwfile.json, io, "a.json", "text")
   assert(problem:find("bad argument #3 'table' to 'rwfile.json' (table expected, got string)", 1, true), problem)
   same(io.files["a.json"], "{}")
end)

test("a file without a name is refused", function()
   for method, call in pairs { ["rwfile.file"] = rwfile.file, ["rwfile.json"] = rwfile.json } do
      for _, bad in ipairs { {}, false } do
         local problem = raises(call, new_io(), bad)
         assert(problem:find("bad argument #2 'name' to '" .. method .. "' (string expected, got " .. type(bad), 1, true), problem)
      end
      assert(raises(call, new_io()):find("'name' to '" .. method .. "' (string expected, got nil)", 1, true))
   end
end)
