module github.com/onlyonce/onlyonce/internal/fasthttpidem

go 1.25.0

require (
	github.com/onlyonce/onlyonce v0.0.0
	github.com/stretchr/testify v1.12.1
	github.com/valyala/fasthttp v1.69.0
)

require (
	github.com/andybalholm/brotli v1.2.0 // indirect
	github.com/klauspost/compress v1.18.2 // indirect
	github.com/valyala/bytebufferpool v1.0.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
)

replace github.com/onlyonce/onlyonce => ../..
