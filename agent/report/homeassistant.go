package report

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"otad/ota"
	"otad/transport"
)

// HomeAssistantPress is what Home Assistant publishes when its install button
// is pressed.
const HomeAssistantPress = "install"

const (
	homePrefix = "homeassistant" // Home Assistant's own default for discovery
	homeEvery  = time.Second     // between two messages about progress
	maxSummary = 255             // characters that Home Assistant takes as a summary
)

// HomeAssistant shows the box as an `update` entity in Home Assistant, by its
// MQTT discovery (https://www.home-assistant.io/integrations/update.mqtt/).
// It says less than State and nothing new; that is why it is off by default.
type HomeAssistant struct {
	Broker Broker
	Source Source
	Topics Topics
	Log    *slog.Logger
	// Up gets a value when the connection came up; the owner fills it.
	Up <-chan struct{}
}

// homeDiscovery announces the entity. Members are those of Home Assistant.
type homeDiscovery struct {
	Name                 string     `json:"name"`
	UniqueID             string     `json:"unique_id"`
	DeviceClass          string     `json:"device_class"`
	Title                string     `json:"title"`
	StateTopic           string     `json:"state_topic"`
	CommandTopic         string     `json:"command_topic"`
	PayloadInstall       string     `json:"payload_install"`
	AvailabilityTopic    string     `json:"availability_topic"`
	AvailabilityTemplate string     `json:"availability_template"`
	QoS                  int        `json:"qos"`
	Device               homeDevice `json:"device"`
	Origin               homeOrigin `json:"origin"`
}

type homeDevice struct {
	Identifiers []string `json:"identifiers"`
	Name        string   `json:"name"`
	Model       string   `json:"model"`
	SWVersion   string   `json:"sw_version"`
}

type homeOrigin struct {
	Name      string `json:"name"`
	SWVersion string `json:"sw_version"`
}

// homeState is the entity's state. UpdatePercentage is null while there is
// none: Home Assistant keeps the last one otherwise.
type homeState struct {
	InstalledVersion string `json:"installed_version"`
	LatestVersion    string `json:"latest_version"`
	ReleaseSummary   string `json:"release_summary"`
	InProgress       bool   `json:"in_progress"`
	UpdatePercentage *int   `json:"update_percentage"`
}

// Run publishes until ctx ends.
func (h *HomeAssistant) Run(ctx context.Context) {
	changed, stop := h.Source.Watch()
	defer stop()
	pace := time.NewTicker(homeEvery)
	defer pace.Stop()
	var announced, said []byte
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.Up:
			announced, said = nil, nil // it may be another broker
		case <-changed:
		}
		s := h.Source.State()
		if s.Slot == "" { // the board has not answered
			continue
		}
		h.send(ctx, h.discoveryTopic(), h.discovery(s), &announced)
		h.send(ctx, h.Topics.HomeAssistant(), homeStateOf(s), &said)
		select {
		case <-pace.C:
		case <-ctx.Done():
			return
		}
	}
}

// send publishes v, retained, unless it is what the broker has.
func (h *HomeAssistant) send(ctx context.Context, topic string, v any, sent *[]byte) {
	data, err := json.Marshal(v)
	if err != nil || string(data) == string(*sent) || !h.Broker.Connected() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, publishWait)
	defer cancel()
	if err := h.Broker.Publish(ctx, transport.Message{Topic: topic, Payload: data, QoS: 1, Retained: true}); err != nil {
		h.Log.Debug("Home Assistant is not told", "cause", err)
		return
	}
	*sent = data
}

// discoveryTopic has an id of letters, digits, `_` and `-` only, as Home
// Assistant demands; the sum keeps `a:b` and `a_b` apart.
func (h *HomeAssistant) discoveryTopic() string {
	name := h.Topics.Model + "_" + h.Topics.Device
	sum := sha256.Sum256([]byte(h.Topics.Prefix + "/" + h.Topics.Model + "/" + h.Topics.Device))
	id := strings.Map(func(r rune) rune {
		if r < 0x80 && (r == '-' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z') {
			return r
		}
		return '_'
	}, name)
	return homePrefix + "/update/otad_" + id + "_" + hex.EncodeToString(sum[:4]) + "/config"
}

func (h *HomeAssistant) discovery(s State) homeDiscovery {
	id := "otad-" + h.Topics.Prefix + "-" + h.Topics.Model + "-" + h.Topics.Device
	return homeDiscovery{
		Name: "Firmware", UniqueID: id, DeviceClass: "firmware", Title: h.Topics.Model,
		StateTopic:   h.Topics.HomeAssistant(),
		CommandTopic: h.Topics.HomeAssistantInstall(), PayloadInstall: HomeAssistantPress,
		AvailabilityTopic:    h.Topics.State(),
		AvailabilityTemplate: "{{ 'online' if value_json.online else 'offline' }}",
		QoS:                  1,
		Device: homeDevice{Identifiers: []string{id}, Name: h.Topics.Model + " " + h.Topics.Device,
			Model: h.Topics.Model, SWVersion: homeVersion(s.Version)},
		Origin: homeOrigin{Name: "otad", SWVersion: s.Agent},
	}
}

// homeStateOf is s in Home Assistant's words. While an update waits for leave
// it is not in progress, so that the install button can be pressed.
func homeStateOf(s State) homeState {
	h := homeState{InstalledVersion: homeVersion(s.Version), LatestVersion: homeVersion(s.Version)}
	if s.Update == nil {
		return h
	}
	h.LatestVersion = homeVersion(s.Update.To)
	if runes := []rune(s.Update.Prompt); len(runes) > 0 {
		h.ReleaseSummary = string(runes[:min(len(runes), maxSummary)])
	}
	switch s.Phase {
	case ota.PhaseDownloading, ota.PhaseInstalling, ota.PhaseInstalled, ota.PhaseTrial:
		h.InProgress = true
		if s.Transfer != nil {
			h.UpdatePercentage = &s.Percent
		}
	}
	return h
}

func homeVersion(v ota.Version) string { return cmp.Or(v.Name, strconv.FormatInt(v.Code, 10)) }
