package report

import (
	"strings"
)

// Group stands in the place of a device, or of model and device, in the topics
// of commands for many boxes.
const Group = "all"

// Topics names the box's place on the broker.
type Topics struct{ Prefix, Model, Device string }

func (t Topics) own(leaf string) string {
	return t.Prefix + "/" + t.Model + "/" + t.Device + "/" + leaf
}

// State is where the retained state is.
func (t Topics) State() string { return t.own("state") }

// Progress is where progress goes.
func (t Topics) Progress() string { return t.own("progress") }

// Event is where events go.
func (t Topics) Event() string { return t.own("event") }

// Command is where the box takes commands of its own.
func (t Topics) Command() string { return t.own("cmd") }

// Result is where it answers.
func (t Topics) Result() string { return t.own("result") }

// HomeAssistant is where the box says for Home Assistant how it is; only when
// it is asked to.
func (t Topics) HomeAssistant() string { return t.own("home-assistant") }

// HomeAssistantInstall is where Home Assistant presses the button.
func (t Topics) HomeAssistantInstall() string { return t.own("home-assistant/install") }

// Commands lists every topic that carries commands for the box: its own, its
// model's and everybody's.
func (t Topics) Commands() []string {
	return []string{t.Command(), ModelCommand(t.Prefix, t.Model), AllCommand(t.Prefix)}
}

// ModelCommand is where all boxes of a model take commands.
func ModelCommand(prefix, model string) string { return prefix + "/" + model + "/" + Group + "/cmd" }

// AllCommand is where all boxes take commands.
func AllCommand(prefix string) string { return prefix + "/" + Group + "/cmd" }

// ParseTopic is the reverse: whose topic it is, and the leaf ("state",
// "event", …). ok is false for a topic that is not of one box.
func ParseTopic(prefix, topic string) (t Topics, leaf string, ok bool) {
	rest, ok := strings.CutPrefix(topic, prefix+"/")
	parts := strings.SplitN(rest, "/", 3)
	if !ok || len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[1] == Group {
		return Topics{}, "", false
	}
	return Topics{Prefix: prefix, Model: parts[0], Device: parts[1]}, parts[2], true
}
