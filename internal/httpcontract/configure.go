package httpcontract

import (
	"fmt"
	"net/http"
	"reflect"
)

// Configure copies config to own, which points to an adapter's own configuration: a struct whose fields have the same names, with a C, the
// framework's context, in place of the request in Scope and Key. It panics where a field is missing, since every adapter has them all.
func Configure[C any](own any, config Config, request func(C) *http.Request) {
	to, from := reflect.ValueOf(own).Elem(), reflect.ValueOf(config)
	for i := range from.NumField() {
		name, value := from.Type().Field(i).Name, from.Field(i)
		switch {
		case value.IsZero():
			continue
		case name == "Scope":
			value = reflect.ValueOf(func(c C) (string, error) { return config.Scope(request(c)) })
		case name == "Key":
			value = reflect.ValueOf(func(c C, body []byte) (string, error) { return config.Key(request(c), body) })
		}
		field := to.FieldByName(name)
		if !field.IsValid() {
			panic(fmt.Sprintf("%T has no %s", own, name))
		}
		field.Set(value)
	}
}
