module github.com/onlyonce/onlyonce

go 1.25.0
