---@meta loadconf

return mako.conf
