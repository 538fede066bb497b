// Package plugin is the Kong plugin: its configuration, and what it does in the phases of a request.
//
//	Access    claims the key, or answers: with the stored response, or with a problem
//	Response  stores the service's response, or frees the key, as the status says
//	Log       resolves what is left: Response does not run where the service has not answered, nor where Kong does not buffer
//
// Kong may run any phase in another process than the one before, run it twice, or leave it out. So no phase depends on what another has left in
// memory: all that a request has of its own is in Kong's shared context (claim.go), and every phase may be run again with the same effect.
// What no phase gets to resolve, the end of the lease does.
package plugin
