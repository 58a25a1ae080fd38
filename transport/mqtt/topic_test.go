package mqtt

import (
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text                string
		name, topic, filter bool
	}{
		{"stv1", true, true, true},
		{"00:11:22:aa:bb:cc", true, true, true},
		{"Kühlbox", true, true, true},
		{"a/b", false, true, true},
		{"/", false, true, true},
		{"", false, false, false},
		{"+", false, false, true},
		{"#", false, false, true},
		{"a/+/c", false, false, true},
		{"a/#", false, false, true},
		{"a/#/c", false, false, false},
		{"a#", false, false, false},
		{"a/b+", false, false, false},
		{"$SYS", false, true, true},
		{"a\x00b", false, false, false},
		{"a\nb", false, false, false},
		{"a\xffb", false, false, false},
		{strings.Repeat("x", 128), true, true, true},
		{strings.Repeat("x", 129), false, true, true},
		{strings.Repeat("x", 65536), false, false, false},
	} {
		for _, check := range []struct {
			what string
			err  error
			want bool
		}{
			{"name", ValidName(tt.text), tt.name},
			{"topic", ValidTopic(tt.text), tt.topic},
			{"filter", ValidFilter(tt.text), tt.filter},
		} {
			if got := check.err == nil; got != check.want {
				t.Errorf("%.20q as a %s: %v, want valid=%t", tt.text, check.what, check.err, check.want)
			}
		}
	}
}

// The examples are those of MQTT 3.1.1, 4.7.
func TestMatch(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		filter, topic string
		want          bool
	}{
		{"sport/tennis/player1/#", "sport/tennis/player1", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
		{"sport/#", "sport", true},
		{"#", "sport/tennis", true},
		{"sport/tennis/+", "sport/tennis/player1", true},
		{"sport/tennis/+", "sport/tennis/player1/ranking", false},
		{"sport/+", "sport", false},
		{"sport/+", "sport/", true},
		{"+/+", "/finance", true},
		{"/+", "/finance", true},
		{"+", "/finance", false},
		{"#", "$SYS/x", false},
		{"+/monitor/Clients", "$SYS/monitor/Clients", false},
		{"$SYS/#", "$SYS/x", true},
		{"a/b", "a", false},
		{"a", "a/b", false},
	} {
		if got := Match(tt.filter, tt.topic); got != tt.want {
			t.Errorf("Match(%q, %q) = %t", tt.filter, tt.topic, got)
		}
	}
}
