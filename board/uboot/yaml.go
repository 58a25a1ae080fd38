package uboot

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// parseYAML reads libubootenv's own configuration: one namespace, which holds
// size, lockfile and devices. It is no YAML reader: it knows block mappings,
// block sequences, plain and quoted scalars and comments, which is what such
// files are made of, and refuses everything else with its line.
//
// Source: libubootenv, src/extended_config.c.
func parseYAML(data []byte) (places, error) {
	y := yamlConfig{places: places{lockFile: defaultLock}, size: -1}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		if err := y.line(lines.Text()); err != nil {
			return places{}, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return places{}, err
	}
	for i := range y.copies {
		y.copies[i].sizeBytes = y.size
	}
	return y.places, y.places.check()
}

// yamlConfig is a file being read: the indents say on which level a line is.
type yamlConfig struct {
	places
	size      int64
	namespace bool // its line was read
	devices   bool // within its list
	outer     int  // indent of the namespace's keys, 0 before the first
	inner     int  // indent of a device's keys, 0 before the first
}

func (y *yamlConfig) line(text string) error {
	text = withoutComment(text)
	body := strings.TrimLeft(text, " ")
	indent := len(text) - len(body)
	body = strings.TrimSpace(body)
	switch {
	case body == "" || body == "---" && !y.namespace:
		return nil
	case strings.HasPrefix(body, "\t"), strings.HasPrefix(text, "\t"):
		return errors.New("a tab in the indent")
	}
	item := strings.HasPrefix(body, "- ")
	if item {
		rest := strings.TrimLeft(body[2:], " ")
		indent += len(body) - len(rest)
		body = rest
	}
	key, value, err := pair(body)
	if err != nil {
		return err
	}
	switch {
	case indent == 0 && !item:
		if y.namespace {
			return fmt.Errorf("a second environment %q: one is supported", key)
		}
		y.namespace = true
		return wantEmpty(key, value)
	case y.devices && (item || indent != y.outer):
		return y.device(item, indent, key, value)
	case item:
		return fmt.Errorf("a list at %q, want a key", key)
	}
	return y.setting(indent, key, value)
}

func (y *yamlConfig) setting(indent int, key, value string) error {
	if y.outer == 0 {
		y.outer = indent
	}
	if indent != y.outer || !y.namespace {
		return fmt.Errorf("unexpected indent of %q", key)
	}
	y.devices = key == "devices"
	var err error
	switch key {
	case "size":
		y.size, err = parseNumber(value)
	case "lockfile":
		y.lockFile = value
	case "devices":
		err = wantEmpty(key, value)
	default: // above all writelist, which would change what is written
		err = fmt.Errorf("%q is not supported", key)
	}
	return err
}

func (y *yamlConfig) device(item bool, indent int, key, value string) error {
	if item {
		if y.inner == 0 {
			y.inner = indent
		}
		y.copies = append(y.copies, place{})
	}
	if indent != y.inner || len(y.copies) == 0 {
		return fmt.Errorf("unexpected indent of %q", key)
	}
	c := &y.copies[len(y.copies)-1]
	var err error
	switch key {
	case "path":
		c.path = value
	case "offset":
		c.offset, err = parseNumber(value)
	case "sectorsize", "unlock", "disablelock": // about raw flash
	default:
		err = fmt.Errorf("%q is not supported", key)
	}
	return err
}

// pair splits `key : value`; quotes around the value are taken off.
func pair(body string) (key, value string, err error) {
	key, value, ok := strings.Cut(body, ":")
	if !ok || value != "" && !strings.HasPrefix(value, " ") {
		return "", "", fmt.Errorf("%q is not a key with a value", body)
	}
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
		value = value[1 : n-1]
		if strings.ContainsAny(value, `\"'`) {
			return "", "", fmt.Errorf("an escape in the value of %q is not supported", key)
		}
		return key, value, nil
	}
	if strings.ContainsAny(value, "\"'[]{}&*!|>%@`,") || strings.ContainsAny(key, "\"'[]{}&*!|>%@`,? ") {
		return "", "", fmt.Errorf("%q uses YAML that is not supported", body)
	}
	return key, value, nil
}

func wantEmpty(key, value string) error {
	if value != "" {
		return fmt.Errorf("%q has a value where a block should follow", key)
	}
	return nil
}

// withoutComment cuts from a # at the start of a word.
func withoutComment(text string) string {
	if strings.HasPrefix(text, "#") {
		return ""
	}
	if at := strings.Index(text, " #"); at >= 0 {
		return text[:at]
	}
	return text
}
