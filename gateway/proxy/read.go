package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Problems are all that is wrong with a configuration: what is right about the rest is not known before they are solved.
type Problems []string

func (p Problems) Error() string {
	return "the configuration cannot be used:\n  " + strings.Join(p, "\n  ")
}

// Read reads and checks a configuration file, with the files and the environment variables that it names. The error is [Problems], or says why
// there was nothing to read. It touches no network.
func Read(path string) (*Config, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the configuration cannot be read: %w", err)
	}
	return Parse(content)
}

// Parse is Read for what a file holds.
func Parse(content []byte) (*Config, error) {
	config := &Config{}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	err := decoder.Decode(config)
	if wrong := (*yaml.TypeError)(nil); errors.As(err, &wrong) {
		problems := Problems{}
		for _, text := range wrong.Errors {
			problems = append(problems, plain(text))
		}
		return nil, problems
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, Problems{plain(strings.TrimPrefix(err.Error(), "yaml: "))}
	}
	if err := decoder.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, Problems{"there is a second document in the file (---): only one is read"}
	}
	if problems := config.check(); len(problems) > 0 {
		return nil, problems
	}
	return config, nil
}

var goTypes = regexp.MustCompile(` in type proxy\.\w+| into (?:\[\])?(?:proxy|time)\.\w+`)

// plain takes Go out of an error of the decoder's.
func plain(text string) string {
	text = strings.Replace(text, " into time.Duration", ", want a time such as 30s or 24h", 1)
	text = goTypes.ReplaceAllString(text, "")
	text = strings.Replace(text, " not found", " is not a setting: README.md lists them", 1)
	return strings.NewReplacer("cannot unmarshal !!", "cannot take ", " into bool", ", want true or false", " into int", ", want a number", " into string", ", want a text").Replace(text)
}

// secret reads what a file holds but for white space around it.
func secret(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("cannot be read: %w", err)
	}
	if len(bytes.TrimSpace(content)) == 0 {
		return "", fmt.Errorf("%s is empty", path)
	}
	return string(bytes.TrimSpace(content)), nil
}
