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
            equal(what, "*a")
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

return {
    ["file reads a whole file"] = function()
        local io = new_io { ["a.txt"] = "text\n" }
        equal(rwfile.file(io, "a.txt"), "text\n")
        equal(io.opened, 0)
    end,

    ["an empty file is an empty string"] = function()
        equal(rwfile.file(new_io { empty = "" }, "empty"), "")
    end,

    ["file that is missing gives nil and enoent"] = function()
        local text, reason = rwfile.file(new_io(), "a.txt")
        equal(text, nil)
        equal(reason, "enoent")
    end,

    ["file writes data and answers true"] = function()
        local io = new_io()
        equal(rwfile.file(io, "a.txt", "new"), true)
        equal(io.files["a.txt"], "new")
        equal(rwfile.file(io, "a.txt", ""), true)
        equal(io.files["a.txt"], "")
        equal(io.opened, 0)
    end,

    ["failures to write give nil and the reason"] = function()
        local io = new_io()
        for name, expected in pairs { locked = "noaccess", full = "nospace" } do
            local ok, reason = rwfile.file(io, name, "x")
            equal(ok, nil)
            equal(reason, expected)
        end
        equal(io.opened, 0)
    end,

    ["json writes and reads a table"] = function()
        local io = new_io()
        equal(rwfile.json(io, "a.json", { list = { 1, 2 } }), true)
        equal(io.files["a.json"], '{"list":[1,2]}')
        equal(rwfile.json(io, "a.json").list[2], 2)
    end,

    ["json skips a byte order mark and comments"] = function()
        local io = new_io { ["menu.json"] = '\xEF\xBB\xBF{"name": "x", // note\n}' }
        equal(rwfile.json(io, "menu.json").name, "x")
    end,

    ["bad json gives nil and jsonerr"] = function()
        local value, reason = rwfile.json(new_io { bad = "{" }, "bad")
        equal(value, nil)
        equal(reason, "jsonerr")
    end,

    ["json file that is missing gives nil and enoent"] = function()
        local value, reason = rwfile.json(new_io(), "a.json")
        equal(value, nil)
        equal(reason, "enoent")
    end,
}
