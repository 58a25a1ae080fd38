package report_test

import (
	"fmt"
	"strconv"
	"strings"
)

// parseYAML reads the part of YAML that docs/mqtt/asyncapi.yaml is written in:
// block mappings, `|` texts, flow mappings and lists, and scalars. Everything
// else is an error, and the official parser holds the file against all of YAML.
func parseYAML(text string) (map[string]any, error) {
	y := &yamlReader{lines: strings.Split(text, "\n")}
	v, err := y.mapping(0)
	if err == nil && y.skipBlank() {
		err = fmt.Errorf("line %d does not fit", y.at+1)
	}
	return v, err
}

type yamlReader struct {
	lines []string
	at    int
}

// skipBlank goes to the next line with something on it.
func (y *yamlReader) skipBlank() bool {
	for y.at < len(y.lines) && strings.TrimSpace(y.lines[y.at]) == "" {
		y.at++
	}
	return y.at < len(y.lines)
}

func indentOf(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

func (y *yamlReader) mapping(indent int) (map[string]any, error) {
	m := map[string]any{}
	for y.skipBlank() && indentOf(y.lines[y.at]) == indent {
		line := y.lines[y.at]
		key, rest, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok || rest != "" && rest[0] != ' ' {
			return nil, fmt.Errorf("line %d is no `key: value`", y.at+1)
		}
		y.at++
		value, err := y.value(indent, strings.TrimSpace(rest))
		if err != nil {
			return nil, err
		}
		m[key] = value
	}
	return m, nil
}

func (y *yamlReader) value(indent int, rest string) (any, error) {
	switch rest {
	case "":
		return y.mapping(indent + 2)
	case "|":
		var text []string
		for y.at < len(y.lines) && (strings.TrimSpace(y.lines[y.at]) == "" || indentOf(y.lines[y.at]) > indent) {
			text = append(text, strings.TrimSpace(y.lines[y.at]))
			y.at++
		}
		return strings.Join(text, "\n"), nil
	}
	if !strings.ContainsAny(rest[:1], "{[\"") {
		return scalar(rest), nil
	}
	f := &flowReader{rest: rest}
	v, err := f.value()
	if err != nil || f.rest != "" {
		return nil, fmt.Errorf("line %d: cannot read %q", y.at, rest)
	}
	return v, nil
}

// flowReader reads `{a: 1, b: [x, y], c: "text"}`.
type flowReader struct{ rest string }

func (f *flowReader) value() (any, error) {
	switch {
	case strings.HasPrefix(f.rest, "{"):
		m := map[string]any{}
		err := f.items("}", func() error {
			key, rest, ok := strings.Cut(f.rest, ": ")
			if !ok {
				return fmt.Errorf("no key in %q", f.rest)
			}
			f.rest = rest
			v, err := f.value()
			m[key] = v
			return err
		})
		return m, err
	case strings.HasPrefix(f.rest, "["):
		list := []any{}
		err := f.items("]", func() error {
			v, err := f.value()
			list = append(list, v)
			return err
		})
		return list, err
	case strings.HasPrefix(f.rest, `"`):
		quoted, err := strconv.QuotedPrefix(f.rest)
		if err != nil {
			return nil, err
		}
		f.rest = f.rest[len(quoted):]
		return strconv.Unquote(quoted)
	}
	end := strings.IndexAny(f.rest+",", ",}]")
	word := f.rest[:end]
	f.rest = f.rest[end:]
	return scalar(word), nil
}

func (f *flowReader) items(end string, item func() error) error {
	f.rest = f.rest[1:]
	for !strings.HasPrefix(f.rest, end) {
		if err := item(); err != nil {
			return err
		}
		next := strings.HasPrefix(f.rest, ", ")
		f.rest = strings.TrimPrefix(f.rest, ", ")
		if !next && !strings.HasPrefix(f.rest, end) {
			return fmt.Errorf("neither `, ` nor `%s` in %q", end, f.rest)
		}
	}
	f.rest = f.rest[1:]
	return nil
}

func scalar(word string) any {
	if n, err := strconv.Atoi(word); err == nil {
		return n
	}
	if b, err := strconv.ParseBool(word); err == nil {
		return b
	}
	return word
}
