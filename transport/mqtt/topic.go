package mqtt

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"otad/transport"
)

const (
	maxName  = 128   // bytes of one level; ours, so that topics stay short
	maxTopic = 65535 // bytes of a topic; MQTT 3.1.1, 1.5.3
)

// ValidName says whether s can be one level of a topic, as the model and the
// key of a device are: 1 to 128 bytes of UTF-8 without control characters and
// without `+`, `#` and `/`, and not starting with `$`.
func ValidName(s string) error {
	switch {
	case s == "":
		return errors.New("name is empty")
	case len(s) > maxName:
		return fmt.Errorf("name of %d bytes is longer than %d", len(s), maxName)
	case strings.ContainsAny(s, "+#/"):
		return fmt.Errorf("name %q contains `+`, `#` or `/`", s)
	case s[0] == '$':
		return fmt.Errorf("name %q starts with `$`", s)
	}
	return checkText("name", s)
}

// ValidTopic says whether a message can be published to s: no wildcards.
func ValidTopic(s string) error {
	if strings.ContainsAny(s, "+#") {
		return fmt.Errorf("topic %q contains `+` or `#`", s)
	}
	return checkText("topic", s)
}

// ValidFilter says whether s can be subscribed to: `+` stands alone in its
// level, `#` stands alone in the last one.
func ValidFilter(s string) error {
	levels := strings.Split(s, "/")
	for i, level := range levels {
		switch {
		case strings.Contains(level, "#") && (level != "#" || i < len(levels)-1):
			return fmt.Errorf("topic filter %q has a misplaced `#`", s)
		case strings.Contains(level, "+") && level != "+":
			return fmt.Errorf("topic filter %q has a misplaced `+`", s)
		}
	}
	return checkText("topic filter", s)
}

// Match says whether a message to topic goes to subscribers of filter
// (MQTT 3.1.1, 4.7). Both must be valid.
func Match(filter, topic string) bool {
	if topic[0] == '$' && filter[0] != '$' {
		return false // wildcards in the first level do not match the broker's own topics
	}
	wanted, levels := strings.Split(filter, "/"), strings.Split(topic, "/")
	for i, w := range wanted {
		switch {
		case w == "#":
			return true
		case i == len(levels):
			return false
		case w != "+" && w != levels[i]:
			return false
		}
	}
	return len(wanted) == len(levels)
}

// checkText holds s against the rules of all MQTT strings (1.5.3); what names it.
func checkText(what, s string) error {
	switch {
	case s == "":
		return fmt.Errorf("%s is empty", what)
	case len(s) > maxTopic:
		return fmt.Errorf("%s of %d bytes is longer than %d", what, len(s), maxTopic)
	case !utf8.ValidString(s):
		return fmt.Errorf("%s %q is not UTF-8", what, s)
	case strings.ContainsFunc(s, unicode.IsControl):
		return fmt.Errorf("%s %q contains a control character", what, s)
	}
	return nil
}

func checkMessage(m transport.Message) error {
	if m.QoS > 1 {
		return fmt.Errorf("QoS %d is not 0 or 1", m.QoS)
	}
	return ValidTopic(m.Topic)
}
