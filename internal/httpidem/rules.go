package httpidem

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/onlyonce/onlyonce/idempotency"
)

// Options are what an adapter's configuration says about HTTP. The adapters document them.
type Options struct {
	Headers            []string
	Optional           bool
	MaxKeyBytes        int
	Validate           func(key string) error
	Methods            []string
	MaxRequestBytes    int
	Fingerprinter      *idempotency.Fingerprinter
	FingerprintHeaders []string
	KeepHeaders        []string
	ReplayHeaders      []string
	OnError            func(w http.ResponseWriter, r *http.Request, err *idempotency.Error)
}

// Rules are Options, checked and ready.
type Rules struct {
	engine  *idempotency.Engine
	options Options
	replay  []string
	tooLong error    // what a key over MaxKeyBytes is answered by
	keep    []string // request headers that are stored with a recovery point
}

// NewRules checks options and fills in the defaults.
func NewRules(engine *idempotency.Engine, options Options) (*Rules, error) {
	if engine == nil {
		return nil, errors.New("the engine is nil: make one with idempotency.New")
	}
	rules, err := newRules(options)
	if err != nil {
		return nil, err
	}
	rules.engine = engine
	return rules, nil
}

func newRules(options Options) (*Rules, error) {
	if len(options.Headers) == 0 {
		options.Headers = []string{"Idempotency-Key"}
	}
	if len(options.Methods) == 0 {
		options.Methods = []string{http.MethodPost, http.MethodPatch}
	}
	for _, method := range options.Methods {
		// Methods are case-sensitive, so that a route would be left open without a word.
		if method == "" || method != strings.ToUpper(method) {
			return nil, fmt.Errorf("%q on the list Methods is no request's method: write it in capitals", method)
		}
	}
	if options.MaxRequestBytes < 0 {
		return nil, fmt.Errorf("MaxRequestBytes is %d: give a positive number, or 0 for the default", options.MaxRequestBytes)
	}
	if options.MaxRequestBytes == 0 {
		options.MaxRequestBytes = 1 << 20
	}
	if options.MaxKeyBytes < 0 || options.MaxKeyBytes > idempotency.MaxKeyBytes {
		return nil, fmt.Errorf("MaxKeyBytes is %d: give 1 to %d, or 0 for the default, %[2]d", options.MaxKeyBytes, idempotency.MaxKeyBytes)
	}
	if options.MaxKeyBytes == 0 {
		options.MaxKeyBytes = idempotency.MaxKeyBytes
	}
	if options.OnError == nil {
		options.OnError = func(w http.ResponseWriter, _ *http.Request, err *idempotency.Error) { WriteProblem(w, err) }
	}
	var err error
	if options.Headers, err = canonical("Headers", options.Headers); err != nil {
		return nil, err
	}
	if options.FingerprintHeaders, err = canonical("FingerprintHeaders", options.FingerprintHeaders); err != nil {
		return nil, err
	}
	replay, err := replayList(options.ReplayHeaders)
	if err != nil {
		return nil, err
	}
	keep, err := keepList(options)
	if err != nil {
		return nil, err
	}
	options.Methods = slices.Clone(options.Methods)
	return &Rules{options: options, replay: replay, tooLong: tooLong(options.MaxKeyBytes), keep: keep}, nil
}

func canonical(option string, names []string) ([]string, error) {
	var list []string
	for _, name := range names {
		if !validName(name) {
			return nil, fmt.Errorf("%s has %q in it, which is not a header's name", option, name)
		}
		if name = http.CanonicalHeaderKey(name); !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list, nil
}

// Protects reports whether requests of this method are protected; the others pass through untouched.
func (r *Rules) Protects(method string) bool { return slices.Contains(r.options.Methods, method) }

// headerKey returns the key that the request carries in its headers.
func (r *Rules) headerKey(header http.Header) (string, error) {
	var values []string
	for _, name := range r.options.Headers {
		if values == nil {
			values = header[name]
		} else {
			values = append(slices.Clip(values), header[name]...)
		}
	}
	return ParseKey(values)
}
