package report

import (
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"otad/ota"
)

// What Home Assistant documents for the discovery of an `update` entity: the
// members of the configuration and of the JSON state, and the JSON type of
// each. https://www.home-assistant.io/integrations/update.mqtt/
var (
	homeConfigMembers = map[string]string{
		"name": "string", "unique_id": "string", "device_class": "string", "title": "string",
		"state_topic": "string", "value_template": "string", "latest_version_topic": "string", "latest_version_template": "string",
		"command_topic": "string", "payload_install": "string", "retain": "boolean", "qos": "number", "encoding": "string",
		"availability_topic": "string", "availability_template": "string", "availability_mode": "string",
		"payload_available": "string", "payload_not_available": "string",
		"release_summary": "string", "release_url": "string", "entity_picture": "string", "entity_category": "string",
		"enabled_by_default": "boolean", "object_id": "string", "icon": "string",
		"json_attributes_topic": "string", "json_attributes_template": "string",
		"device": "object", "origin": "object",
	}
	homeDeviceMembers = map[string]string{
		"configuration_url": "string", "connections": "array", "hw_version": "string", "identifiers": "array",
		"manufacturer": "string", "model": "string", "name": "string", "suggested_area": "string",
		"sw_version": "string", "via_device": "string",
	}
	homeOriginMembers = map[string]string{"name": "string", "sw_version": "string", "support_url": "string"}
	homeStateMembers  = map[string]string{
		"installed_version": "string", "latest_version": "string", "title": "string", "release_summary": "string",
		"release_url": "string", "entity_picture": "string", "in_progress": "boolean", "update_percentage": "number or null",
	}
)

func holdMembers(t *testing.T, what string, v any, known map[string]string) map[string]any {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(data, &members); err != nil {
		t.Fatal(err)
	}
	for name, value := range members {
		kind := "other"
		switch value.(type) {
		case string:
			kind = "string"
		case bool:
			kind = "boolean"
		case float64:
			kind = "number"
		case nil:
			kind = "null"
		case []any:
			kind = "array"
		case map[string]any:
			kind = "object"
		}
		if want, ok := known[name]; !ok || !strings.Contains(want, kind) {
			t.Errorf("%s has %s of type %s; Home Assistant documents %q", what, name, kind, want)
		}
	}
	return members
}

func TestHomeAssistantDiscovery(t *testing.T) {
	t.Parallel()
	h := &HomeAssistant{Topics: Topics{"otad", "stv1", "02:00:00:00:00:01"}}
	config := holdMembers(t, "discovery", h.discovery(State{Agent: "1.0", Version: ota.Version{Code: 7}}), homeConfigMembers)
	holdMembers(t, "device", config["device"], homeDeviceMembers)
	holdMembers(t, "origin", config["origin"], homeOriginMembers)
	for name, want := range map[string]any{
		"state_topic":        "otad/stv1/02:00:00:00:00:01/home-assistant",
		"command_topic":      "otad/stv1/02:00:00:00:00:01/home-assistant/install",
		"payload_install":    "install",
		"availability_topic": "otad/stv1/02:00:00:00:00:01/state",
		"device_class":       "firmware",
	} {
		if config[name] != want {
			t.Errorf("%s is %v, want %v", name, config[name], want)
		}
	}
	// <discovery_prefix>/<component>/<object_id>/config, [a-zA-Z0-9_-] in the id.
	parts := strings.Split(h.discoveryTopic(), "/")
	if len(parts) != 4 || parts[0] != "homeassistant" || parts[1] != "update" || parts[3] != "config" ||
		strings.Trim(parts[2], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != "" {
		t.Errorf("discovery topic %q", h.discoveryTopic())
	}
	other := &HomeAssistant{Topics: Topics{"otad", "stv1", "02_00_00_00_00_01"}}
	if other.discoveryTopic() == h.discoveryTopic() {
		t.Error("two boxes have one topic")
	}
}

func TestHomeAssistantState(t *testing.T) {
	t.Parallel()
	update := &Update{ID: "u", To: ota.Version{Code: 2, Name: "2.0"}, Prompt: strings.Repeat("ü", 300)}
	moving := TransferOf(5, 10, 1)
	for _, c := range []struct {
		name  string
		state State
		want  string // without the summary
	}{
		{"nothing to do", State{Version: ota.Version{Code: 1, Name: "1.0"}, Phase: ota.PhaseIdle},
			`{"in_progress":false,"installed_version":"1.0","latest_version":"1.0","update_percentage":null}`},
		{"version without a name", State{Version: ota.Version{Code: 12}, Phase: ota.PhaseIdle},
			`{"in_progress":false,"installed_version":"12","latest_version":"12","update_percentage":null}`},
		{"waits for consent", State{Version: ota.Version{Code: 1}, Phase: ota.PhaseOffered, Update: update},
			`{"in_progress":false,"installed_version":"1","latest_version":"2.0","update_percentage":null}`},
		{"downloads", State{Version: ota.Version{Code: 1}, Phase: ota.PhaseDownloading, Update: update, Percent: 50, Transfer: moving},
			`{"in_progress":true,"installed_version":"1","latest_version":"2.0","update_percentage":50}`},
		{"is on trial", State{Version: ota.Version{Code: 2, Name: "2.0"}, Phase: ota.PhaseTrial, Update: update},
			`{"in_progress":true,"installed_version":"2.0","latest_version":"2.0","update_percentage":null}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			members := holdMembers(t, "state", homeStateOf(c.state), homeStateMembers)
			if n := len([]rune(members["release_summary"].(string))); n > 255 || (n == 0) == (c.state.Update != nil) {
				t.Errorf("summary of %d characters", n)
			}
			delete(members, "release_summary")
			if got, _ := json.Marshal(members); string(got) != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// Both messages are retained, sent again on each connection, and progress no
// faster than once a second.
func TestHomeAssistantPublishes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &broker{fresh: make(chan struct{}, 1)}
		s := &source{changed: make(chan struct{}, 1), state: State{Slot: "a", Version: ota.Version{Code: 1}}}
		up := make(chan struct{}, 1)
		h := &HomeAssistant{Broker: b, Source: s, Topics: Topics{"otad", "stv1", "dev1"}, Log: slog.New(slog.DiscardHandler), Up: up}
		go h.Run(t.Context())
		up <- struct{}{}
		synctest.Wait()
		sent := func() (topics []string) {
			b.mu.Lock()
			defer b.mu.Unlock()
			for _, m := range b.got {
				if !m.Retained || m.QoS != 1 {
					t.Errorf("%s went out with QoS %d, retained %v", m.Topic, m.QoS, m.Retained)
				}
				topics = append(topics, m.Topic)
			}
			b.got = nil
			return topics
		}
		both := []string{h.discoveryTopic(), h.Topics.HomeAssistant()}
		if got := sent(); !slices.Equal(got, both) {
			t.Errorf("at first: %q", got)
		}
		for i := range 100 {
			s.set(func(s *State) {
				s.Phase, s.Update, s.Percent, s.Transfer = ota.PhaseDownloading, &Update{ID: "u"}, i, TransferOf(int64(i), 100, 1)
			})
		}
		synctest.Wait()
		if got := sent(); len(got) > 1 {
			t.Errorf("%d messages at once", len(got))
		}
	})
}
