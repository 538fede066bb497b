module github.com/onlyonce/onlyonce/examples/gateway

go 1.26.0
