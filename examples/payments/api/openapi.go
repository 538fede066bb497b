package api

import _ "embed"

// OpenAPI is the API's description, as OpenAPI 3.1 in YAML.
//
//go:embed openapi.yaml
var OpenAPI []byte
