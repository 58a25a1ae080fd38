package report_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"otad/agent/control"
	"otad/agent/report"
	"otad/ota"
)

// The contract with operators, and where it is.
const contractFile, exampleDir = "../../docs/mqtt/asyncapi.yaml", "../../docs/mqtt/examples"

var update = flag.Bool("update", false, "write the examples in docs/mqtt/examples anew")

// localOnly are members that the Go type has for other doors than MQTT.
var localOnly = map[string]bool{"Args.source": true, "Args.below_floor": true}

// described says which schema a Go type has; the schema's name is the type's.
var described = []reflect.Type{
	reflect.TypeFor[report.State](), reflect.TypeFor[report.Progress](), reflect.TypeFor[report.Event](),
	reflect.TypeFor[report.Transfer](), reflect.TypeFor[report.Delta](), reflect.TypeFor[report.Update](), reflect.TypeFor[report.Configuration](), reflect.TypeFor[report.Package](),
	reflect.TypeFor[control.Result](), reflect.TypeFor[control.Command](), reflect.TypeFor[control.Args](),
	reflect.TypeFor[ota.Version](), reflect.TypeFor[ota.Failure](), reflect.TypeFor[ota.Offer](), reflect.TypeFor[ota.Outcome](), reflect.TypeFor[ota.Deed](),
}

func readContract(t *testing.T) map[string]any {
	t.Helper()
	data, err := os.ReadFile(contractFile)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := parseYAML(string(data))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func schemasOf(t *testing.T) map[string]any {
	return readContract(t)["components"].(map[string]any)["schemas"].(map[string]any)
}

// member is one field of a Go type as JSON has it.
type member struct {
	always bool // never left out
	kind   string
}

func membersOf(t reflect.Type) map[string]member {
	all := map[string]member{}
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			maps.Copy(all, membersOf(f.Type))
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		all[name] = member{always: !strings.Contains(options, "omit"), kind: kindOf(f.Type)}
	}
	return all
}

// kindOf is the JSON type of t, or the name of its schema.
func kindOf(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[time.Time]():
		return "string"
	case t == reflect.TypeFor[json.RawMessage]():
		return ""
	case t == reflect.TypeFor[[]byte]():
		return "string"
	case t == reflect.TypeFor[ota.Phase]():
		return "Phase"
	}
	switch t.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return "integer"
	case reflect.Struct:
		return t.Name()
	case reflect.Slice:
		return "array of " + kindOf(t.Elem())
	}
	return "unknown " + t.String()
}

// TestContractHoldsTheTypes: every member of the Go types is described with
// its type, and nothing else is.
func TestContractHoldsTheTypes(t *testing.T) {
	t.Parallel()
	schemas := schemasOf(t)
	types := map[string]reflect.Type{"SignedCommand": reflect.TypeFor[control.Signed]()}
	for _, goType := range described {
		types[goType.Name()] = goType
	}
	for name, goType := range types {
		schema, ok := schemas[name].(map[string]any)
		if !ok {
			t.Errorf("no schema for %s", goType)
			continue
		}
		properties := schema["properties"].(map[string]any)
		members := membersOf(goType)
		for n, m := range members {
			p, ok := properties[n].(map[string]any)
			if localOnly[name+"."+n] {
				delete(members, n)
				continue
			}
			if !ok {
				t.Errorf("%s.%s is not described", name, n)
				continue
			}
			kind, _ := p["type"].(string)
			if ref, ok := p["$ref"].(string); ok {
				kind = strings.TrimPrefix(ref, "#/components/schemas/")
			}
			if items, ok := p["items"].(map[string]any); ok {
				ref, _ := items["$ref"].(string)
				kind += " of " + strings.TrimPrefix(ref, "#/components/schemas/")
			}
			if kind != m.kind && !(kind == "string" && m.kind == "Phase") { // an outcome's result is a phase that ended
				t.Errorf("%s.%s is described as %q, it is %q", name, n, kind, m.kind)
			}
			required, _ := schema["required"].([]any)
			incoming := name == "Command" || name == "SignedCommand" // asks for less than we write
			if slices.Contains(required, any(n)) != m.always && !incoming {
				t.Errorf("%s.%s: required is %v, always there is %v", name, n, !m.always, m.always)
			}
		}
		for n := range properties {
			if _, ok := members[n]; !ok {
				t.Errorf("%s.%s is described, the Go type does not have it", name, n)
			}
		}
	}
	for name := range schemas {
		if _, ok := types[name]; !ok && name != "Phase" && name != "Offline" {
			t.Errorf("the schema %s belongs to no type", name)
		}
	}
	var phases []any
	for _, p := range ota.Phases {
		phases = append(phases, string(p))
	}
	if got := schemas["Phase"].(map[string]any)["enum"]; !reflect.DeepEqual(got, phases) {
		t.Errorf("phases %v, want %v", got, phases)
	}
}

// TestContractHoldsTheTopics: the addresses are those that the code uses.
func TestContractHoldsTheTopics(t *testing.T) {
	t.Parallel()
	topics := report.Topics{Prefix: "{prefix}", Model: "{model}", Device: "{device}"}
	want := map[string]string{"state": topics.State(), "progress": topics.Progress(), "event": topics.Event(), "result": topics.Result(),
		"command": topics.Commands()[0], "commandToModel": topics.Commands()[1], "commandToAll": topics.Commands()[2]}
	got := map[string]string{}
	for name, channel := range readContract(t)["channels"].(map[string]any) {
		got[name] = channel.(map[string]any)["address"].(string)
	}
	if !maps.Equal(got, want) {
		t.Errorf("addresses:\n got %v\nwant %v", got, want)
	}
}

// examples are one message of each kind with every member set, and some usual
// ones. The first word of a file's name says which schema it is of.
func examples(t *testing.T) map[string]any {
	at := time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)
	later := at.Add(6 * time.Hour)
	failure := &ota.Failure{Class: ota.Transient, Code: ota.CodeNoSpace, Text: "cannot stage artifact: 512 MiB are needed, 100 MiB are free",
		Hint: "make room in /var/lib/otad", NeedBytes: 512 << 20}
	offer := ota.Offer{VersionCode: 43, VersionName: "4.3.0", URL: "https://fw.example/stv1-4.3.0.swu", Type: ota.UpgradePrompt, Prompt: "Faster channel change"}
	from := ota.Version{Code: 42, Name: "4.2.1"}
	to := ota.Version{Code: 43, Name: "4.3.0"}
	outcome := &ota.Outcome{ID: "KX3M2A", Result: ota.PhaseRolledBack, Offer: offer, From: from, Slot: "b", By: "poll", Failure: &ota.Failure{
		Class: ota.Permanent, Code: ota.CodeUnhealthy, Text: "cannot confirm the new system: hook 10-app failed"}, Started: at, Ended: later}
	transfer := report.TransferOf(120<<20, 512<<20, 4<<20)
	idle := report.State{V: report.Version, Online: true, Time: at, Agent: "1.0.0", Model: "stv1", Device: "02:00:00:00:00:01",
		Version: from, Slot: "a", Floor: "4.0.0", Phase: ota.PhaseIdle, CheckAt: &later, Checked: &at}
	full := idle
	full.Trial, full.Phase, full.Stage, full.Percent, full.Transfer = true, ota.PhaseInstalling, "write", 23, transfer
	full.Update = &report.Update{ID: "QW7PLZ", To: to, Type: ota.UpgradePrompt, By: "mqtt:2026-11-22-a", Prompt: offer.Prompt, Streamed: true,
		Consent: ota.ConsentAccepted, AskedAt: &at, Deferrals: 1}
	full.Delta = &report.Delta{ImageBytes: 512 << 20, FetchBytes: 40 << 20}
	full.Transfer.FetchedBytes = 12 << 20
	full.Booted = "otad: update KX3M2A"
	full.Why, full.Reason, full.GoesOn, full.Trouble, full.Last = "window", "outside the maintenance windows", &later, failure, outcome
	full.Configuration = &report.Configuration{Version: ota.Version{Code: 7, Name: "v7"}, Applied: &at, To: &ota.Version{Code: 9, Name: "v9"}, Bad: &ota.Version{Code: 8, Name: "v8"},
		Failure: &ota.Failure{Class: ota.Permanent, Code: ota.CodeConfigurationSchema, Text: "cannot apply configuration: it does not fit the schema at /volume: 11 is more than 10"}, Trouble: failure}
	full.Packages = []report.Package{{Name: "launcher", Kind: "apk", Version: ota.Version{Code: 3, Name: "3.0"}, Phase: ota.PhaseDownloading, To: &ota.Version{Code: 5, Name: "5.0"}, Percent: 40,
		Reason: "outside the maintenance windows", Bad: &ota.Version{Code: 4, Name: "4.0"}, Failure: &ota.Failure{Class: ota.Permanent, Code: ota.CodePackageHook, Text: "cannot install package \"launcher\": hook \"install-apk\": exit status 1"}, Trouble: failure}}
	installed := &ota.Outcome{ID: "PK3M2A", Kind: ota.KindPackage, Name: "launcher", Result: ota.PhaseConfirmed,
		Offer: ota.Offer{VersionCode: 5, VersionName: "5.0", URL: "https://fw.example/launcher-5.apk", Type: ota.UpgradeSilent}, From: ota.Version{Code: 3}, By: "poll", Started: at, Ended: later}

	returned := &ota.Outcome{ID: "B4CK00", Result: ota.PhaseConfirmed, From: to, Slot: "a", By: "cli", Back: true, Started: at, Ended: later,
		Offer: ota.Offer{VersionCode: from.Code, VersionName: from.Name, Type: ota.UpgradeSilent}}
	back := idle
	back.Version, back.Slot, back.Phase, back.CheckAt = to, "b", ota.PhaseArmed, nil
	back.Update = &report.Update{ID: "B4CK00", To: from, Type: ota.UpgradeSilent, By: "cli", Back: true}
	back.Reason = "the box is in use: recording"

	command := control.Command{V: control.Version, ID: "2026-11-22-a", Verb: control.Upgrade, Args: control.Args{To: 43, Now: true},
		Expires: &later, Topic: "otad/stv1/all/cmd"}
	signedBytes, err := json.Marshal(command)
	if err != nil {
		t.Fatal(err)
	}
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	return map[string]any{
		"state-idle": idle, "state-full": full, "state-back": back,
		"event-outcome-back": report.Event{V: report.Version, ID: "E7H2Q3", Seq: 20, Time: later, Type: report.EventOutcome, Update: "B4CK00", Outcome: returned},
		"command-rollback":   control.Command{V: control.Version, ID: "4", Verb: control.Rollback},
		"offline":            json.RawMessage(report.Offline("stv1", "02:00:00:00:00:01")),
		"progress":           report.Progress{V: report.Version, Update: "QW7PLZ", Phase: ota.PhaseInstalling, Stage: "write", Percent: 23, Transfer: transfer},
		"event-phase":        report.Event{V: report.Version, ID: "E7H2Q0", Seq: 17, Time: at, Type: report.EventPhase, Update: "QW7PLZ", Phase: ota.PhaseFailed, To: &to, Slot: "b", Failure: failure},
		"event-outcome":      report.Event{V: report.Version, ID: "E7H2Q1", Seq: 18, Time: at, Type: report.EventOutcome, Update: "KX3M2A", Outcome: outcome},
		"event-outcome-package": report.Event{V: report.Version, ID: "E7H2Q3", Seq: 20, Time: at, Type: report.EventOutcome, Update: "PK9QRT", Outcome: &ota.Outcome{
			ID: "PK9QRT", Kind: ota.KindPackage, Name: "epg", Result: ota.PhaseConfirmed, Offer: ota.Offer{VersionCode: 7, Type: ota.UpgradeSilent}, From: ota.Version{Code: 6}, Started: at, Ended: later}},
		"event-outcome-file": report.Event{V: report.Version, ID: "E7H2Q6", Seq: 23, Time: later, Type: report.EventOutcome, Update: "ST1CK0", Outcome: &ota.Outcome{
			ID: "ST1CK0", Result: ota.PhaseConfirmed, Offer: ota.Offer{VersionName: "4.3.0", File: "/media/sda1/fw.swu", FileBytes: 301 << 20, FileTime: at, Type: ota.UpgradePrompt},
			From: from, Slot: "b", By: "local", Started: at, Ended: later}},
		"event-package":           report.Event{V: report.Version, ID: "E7H2Q3", Seq: 20, Time: at, Type: report.EventPackage, Update: "PK3M2A", To: &ota.Version{Code: 5, Name: "5.0"}, Outcome: installed},
		"event-asked":             report.Event{V: report.Version, ID: "E7H2Q3", Seq: 20, Time: at, Type: report.EventAsked, Update: "QW7PLZ", Phase: ota.PhaseOffered, To: &to, Text: "waiting for the viewer's consent", At: &later},
		"event-notice":            report.Event{V: report.Version, ID: "E7H2Q4", Seq: 21, Time: at, Type: report.EventNotice, Update: "QW7PLZ", Phase: ota.PhaseArmed, To: &to, Text: "forced, counting down: recording", At: &later},
		"event-boot":              report.Event{V: report.Version, ID: "E7H2Q5", Seq: 22, Time: at, Type: report.EventBoot, Slot: "b", Text: "otad: update QW7PLZ"},
		"event-journal-recovered": report.Event{V: report.Version, ID: "E7H2Q2", Seq: 19, Time: at, Type: report.EventJournalRecovered, Text: "the journal was damaged and rebuilt"},
		"result-ok":               control.Result{ID: "2026-11-22-a", Verb: control.Check, Time: at, Reply: control.Reply{V: control.Version, OK: true, Data: marshal(t, offer)}},
		"result-refused":          control.Result{ID: "2026-11-22-b", Verb: control.Cancel, Time: at, Reply: control.Reply{V: control.Version, Code: ota.CodeNothing, Text: "cannot cancel: no update is under way", Hint: "nothing to do"}},
		"command-upgrade":         command,
		"command-status":          control.Command{V: control.Version, ID: "1", Verb: control.Status},
		"command-consent":         control.Command{V: control.Version, ID: "2", Verb: control.Consent, Args: control.Args{Answer: "accept"}},
		"command-defer":           control.Command{V: control.Version, ID: "4", Verb: control.Defer, Args: control.Args{For: "2h"}},
		"command-history":         control.Command{V: control.Version, ID: "3", Verb: control.History, Args: control.Args{Limit: 5, Audit: true}},
		"deed":                    ota.Deed{Time: at, By: "console", Who: "person (PIN)", Verb: control.Upgrade, Args: `{"to":43}`, Code: ota.CodeBusy, Missed: 2},
		"signed":                  control.Signed{V: control.Version, Signed: signedBytes, Signature: ed25519.Sign(key, signedBytes)},
	}
}

func marshal(t *testing.T, v any) json.RawMessage {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestExamples: the files are what the code writes, and the code reads them
// back without loss.
func TestExamples(t *testing.T) {
	t.Parallel()
	all := examples(t)
	files, err := filepath.Glob(exampleDir + "/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if _, ok := all[strings.TrimSuffix(filepath.Base(file), ".json")]; !ok {
			t.Errorf("%s is no example of the test", file)
		}
	}
	for name, v := range all {
		var want bytes.Buffer
		if err := json.Indent(&want, marshal(t, v), "", "  "); err != nil {
			t.Fatal(err)
		}
		want.WriteByte('\n')
		file := filepath.Join(exampleDir, name+".json")
		if *update {
			if err := os.WriteFile(file, want.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil || !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%s differs (%v), want\n%s", file, err, &want)
			continue
		}
		back := reflect.New(reflect.TypeOf(v))
		d := json.NewDecoder(bytes.NewReader(got))
		d.DisallowUnknownFields()
		if err := d.Decode(back.Interface()); err != nil {
			t.Errorf("%s: %v", file, err)
		} else if again := marshal(t, back.Interface()); !bytes.Equal(again, marshal(t, v)) {
			t.Errorf("%s is read back as %s", file, again)
		}
	}
}

// TestExamplesSetEverything: between them the examples have every member that
// the contract describes, so that none goes untested.
func TestExamplesSetEverything(t *testing.T) {
	t.Parallel()
	schemas := schemasOf(t)
	seen := map[string]bool{}
	var walk func(schema string, v any)
	walk = func(schema string, v any) {
		properties, _ := schemas[schema].(map[string]any)["properties"].(map[string]any)
		object, _ := v.(map[string]any)
		for name, value := range object {
			p, ok := properties[name].(map[string]any)
			if !ok {
				t.Errorf("%s.%s is in an example and not described", schema, name)
				continue
			}
			seen[schema+"."+name] = true
			if items, ok := p["items"].(map[string]any); ok {
				ref, _ := items["$ref"].(string)
				list, _ := value.([]any)
				for _, item := range list {
					walk(strings.TrimPrefix(ref, "#/components/schemas/"), item)
				}
			}
			if ref, ok := p["$ref"].(string); ok {
				walk(strings.TrimPrefix(ref, "#/components/schemas/"), value)
			}
		}
	}
	roots := map[string]string{"state": "State", "offline": "Offline", "progress": "Progress", "event": "Event", "result": "Result",
		"command": "Command", "signed": "SignedCommand", "deed": "Deed"}
	for name, v := range examples(t) {
		var decoded any
		if err := json.Unmarshal(marshal(t, v), &decoded); err != nil {
			t.Fatal(err)
		}
		kind, _, _ := strings.Cut(name, "-")
		walk(roots[kind], decoded)
	}
	for schema, s := range schemas {
		properties, _ := s.(map[string]any)["properties"].(map[string]any)
		for name := range properties {
			if !seen[schema+"."+name] {
				t.Errorf("no example has %s.%s", schema, name)
			}
		}
	}
}
