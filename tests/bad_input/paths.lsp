<?lsp
-- Goes to paths in every way that scripts have, and writes what it finds there.
local top = io:realpath"/"

local function show(f, ...)
   local results = table.pack(pcall(f, ...))
   for i = 2, results.n do response:write(tostring(results[i]), "\n") end
end

for name, path in request:datapairs() do
   response:write("\n", path, ":\n")
   show(function() return io:open(path):read"a" end)
   show(function() return (require"rwfile".file(io, path)) end)
   show(function() return io:dofile(path) end)
   show(function() return io:loadfile(path)() end)
   show(function() return ba.json.encode(require"rwfile".json(io, path)) end)
   show(response.include, response, path)
   show(function()
      for name in io:files(path) do
         if name == "marker" then response:write"LEAK: files" end
      end
   end)
   show(function()
      local info = io:stat(path)
      if info and info.size == #"classified, and of a length that paths.lsp knows" then response:write"LEAK: stat" end
   end)
   show(function()
      local real = io:realpath(path)
      if real and real:sub(1, #top) ~= top then response:write"LEAK: realpath" end
   end)
   show(function() return require(path) end)
   for _, mode in ipairs{ "w", "a", "r+", "w+", "a+" } do
      show(function()
         local file = io:open(path, mode)
         file:write"changed"
         file:close()
      end)
   end
   show(io.mkdir, io, path)
   show(io.mkdir, io, path .. "/new")
   show(function()
      io:open("keep.txt", "w"):close()
      io:rename("keep.txt", path)
   end)
   show(io.rename, io, path, "taken")
   show(io.rmdir, io, path)
   show(io.remove, io, path)
end

if request:data"forward" then response:forward(request:data"forward") end
?>
