module github.com/onlyonce/onlyonce/replaycache

go 1.25.0

require (
	github.com/maypok86/otter/v2 v2.4.0
	github.com/onlyonce/onlyonce v0.0.0
	github.com/stretchr/testify v1.12.1
)

require go.yaml.in/yaml/v3 v3.0.5 // indirect

replace github.com/onlyonce/onlyonce => ../
