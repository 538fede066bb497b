package httpidem

import (
	"fmt"
	"slices"
)

// kept are the request headers that are stored with a recovery point: they say what the body is, and what answer is wanted.
var kept = []string{"Accept", "Accept-Language", "Content-Type"}

// neverKept must not be stored: whoever reads the table could act as the caller.
var neverKept = []string{"Authorization", "Cookie", "Proxy-Authorization"}

// keepList returns the request headers that are stored, sorted. What tells requests apart is among them, unless it is a
// credential or the key.
func keepList(options Options) ([]string, error) {
	extra, err := canonical("KeepHeaders", options.KeepHeaders)
	if err != nil {
		return nil, err
	}
	list := slices.Clone(kept)
	for _, name := range extra {
		switch {
		case slices.Contains(neverKept, name):
			return nil, fmt.Errorf("the header %q must not be stored: it is a credential; take it off KeepHeaders, and have ResumeConfig.Authenticate rebuild what it proved", name)
		case slices.Contains(options.Headers, name):
			return nil, fmt.Errorf("the header %q carries the key, which the completer has already; take it off KeepHeaders", name)
		}
		list = append(list, name)
	}
	for _, name := range options.FingerprintHeaders {
		if !slices.Contains(neverKept, name) && !slices.Contains(options.Headers, name) {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}
