package upgradelink

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// member is one member of a JSON object, in the order of the vendor's pages.
type member struct {
	name  string
	value any
	omit  bool
}

// object writes the members that are not omitted. The server wants optional
// members absent: it refuses a null.
func object(members ...member) json.RawMessage {
	var b bytes.Buffer
	b.WriteByte('{')
	for _, m := range members {
		if m.omit {
			continue
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		b.Write(encode(m.name))
		b.WriteByte(':')
		b.Write(encode(m.value))
	}
	b.WriteByte('}')
	return b.Bytes()
}

// encode writes strings and integers, which cannot fail, and raw objects made
// by object.
func encode(v any) []byte {
	if raw, ok := v.(json.RawMessage); ok {
		return raw
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // as the vendor's SDK; the signature covers the bytes either way
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("upgradelink: %T in a request: %v", v, err))
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func text(name, value string) member { return member{name, value, value == ""} }

// body is the request for KIND/upgrade or, without device, KIND/version.
func (q Query) body(kind string, device bool) []byte {
	withArch := kind == "lnx" || kind == "win"
	return object(
		member{name: kind + "Key", value: q.Key},
		member{"arch", q.Arch, !withArch || q.Arch == ""},
		member{name: "versionCode", value: q.VersionCode},
		member{"appointVersionCode", q.AppointVersionCode, !device || q.AppointVersionCode == 0},
		member{"devModelKey", q.ModelKey, !device || q.ModelKey == ""},
		member{"devKey", q.DeviceKey, !device || q.DeviceKey == ""},
		member{"patchAlgo", q.PatchAlgo, kind != "apk" || !device || q.PatchAlgo == 0},
	)
}

func (e Event) body() ([]byte, error) {
	if e.LaunchTime.IsZero() {
		e.LaunchTime = e.Time
	}
	var upgraded, downloaded, started bool
	switch e.Type {
	case EventStart:
		started = true
	case EventDownload:
		downloaded = true
	case EventUpgrade:
		upgraded = true
	default:
		return nil, fmt.Errorf("the server knows no event %q", string(e.Type))
	}
	data := object(
		member{"launchTime", e.LaunchTime.UTC().Format(time.RFC3339), !started},
		member{name: "versionCode", value: e.VersionCode},
		text("devModelKey", e.ModelKey),
		text("devKey", e.DeviceKey),
		text("target", e.Target),
		text("arch", e.Arch),
		member{"downloadVersionCode", e.TargetVersionCode, !downloaded},
		member{"upgradeVersionCode", e.TargetVersionCode, !upgraded},
		member{"code", e.Code, started},
	)
	return object(
		member{name: "eventType", value: string(e.Type)},
		member{name: "appKey", value: e.AppKey},
		member{name: "timestamp", value: e.Time.UTC().Format(time.RFC3339)},
		member{name: "eventData", value: data},
	), nil
}
