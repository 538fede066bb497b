package seal

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// ParseKeys reads keys as an environment variable has them: "id:base64,id:base64", of which the first is current. No part of
// what it reads is in its error but ids, and those only where a key stands behind them: anything else may be a key in a wrong place.
func ParseKeys(text string) (Config, error) {
	config := Config{Keys: map[string][]byte{}}
	for i, entry := range strings.Split(text, ",") {
		entry = strings.TrimSpace(entry)
		colon := strings.LastIndexByte(entry, ':')
		if colon < 0 || !validID(entry[:colon]) {
			return Config{}, fmt.Errorf("seal: entry %d of the keys is not of the form id:base64, with an id of 1 to 64 visible ASCII characters", i+1)
		}
		id := entry[:colon]
		if likeKey(id) {
			return Config{}, fmt.Errorf("seal: entry %d of the keys has what looks like a key in the place of the id: give id:base64", i+1)
		}
		key, err := base64.StdEncoding.Strict().DecodeString(entry[colon+1:])
		if err != nil {
			return Config{}, fmt.Errorf("seal: the key of entry %d is not base64: give what openssl rand -base64 %d prints", i+1, KeySize)
		}
		if len(key) != KeySize {
			return Config{}, fmt.Errorf("seal: the key of entry %d has %d bytes: give what openssl rand -base64 %d prints", i+1, len(key), KeySize)
		}
		if _, twice := config.Keys[id]; twice {
			return Config{}, fmt.Errorf("seal: key %q is there twice", id)
		}
		config.Keys[id] = key
		if i == 0 {
			config.Current = id
		}
	}
	if _, err := New(config); err != nil {
		return Config{}, err
	}
	return config, nil
}
