---@meta httpm

return require"http"
