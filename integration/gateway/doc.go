// Package gateway puts the gateways, as they are built, in front of upstreams that misbehave, and kills them: its tests count what was done, how
// often, and for how long nobody could tell.
package gateway
