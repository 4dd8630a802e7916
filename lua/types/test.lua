---@meta
-- What scripts of `smq test` can call beside all that apps can.

---A test: it passes when `body` raises no error. It may wait; all tests of a file together may take a minute.
---@param name string a sentence
---@param body function
function test(name, body) end

---Raises an error unless both are the same, tables item by item.
---@param got any
---@param expected any
function same(got, expected) end

---Calls a function that must raise an error, and returns its text.
---@param f function
---@param ... any
---@return string
function raises(f, ...) end

---Waits until `condition()` is true; raises an error after ten seconds.
---@param condition fun(): any
---@param what? string
function eventually(condition, what) end

---The server under test.
server = {}

---Such as `"http://127.0.0.1:8080"`.
---@type string
server.url = nil

---@alias smq.Answer {status: integer, headers: table<string, string>, body: string}

---@param path string
---@param headers? table<string, string>
---@return smq.Answer
function server.get(path, headers) end

---@param path string
---@param data string|table a table is sent as a form
---@param headers? table<string, string>
---@return smq.Answer
function server.post(path, data, headers) end

---@param method string
---@param path string
---@param headers? table<string, string>
---@param body? string
---@return smq.Answer
function server.request(method, path, headers, body) end
