// Package routers shows, by examples that run, how nethttp.Middleware is mounted with chi and with gorilla/mux, which take standard
// middleware and need no adapter of their own.
package routers
