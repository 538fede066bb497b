package store

// NameOf is the name that a key's value has in a storage.
var NameOf = nameOf
