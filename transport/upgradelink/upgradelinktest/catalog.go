package upgradelinktest

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// Kind is the kind of an application: the second element of a route.
type Kind string

// The kinds that the server knows.
const (
	URL           Kind = "url"
	File          Kind = "file"
	APK           Kind = "apk"
	Configuration Kind = "configuration"
	Linux         Kind = "lnx"
	Windows       Kind = "win"
)

func (k Kind) known() bool {
	return slices.Contains([]Kind{URL, File, APK, Configuration, Linux, Windows}, k)
}

// hasArch tells whether versions of the kind are built per architecture.
func (k Kind) hasArch() bool { return k == Linux || k == Windows }

type appID struct {
	kind Kind
	key  string
}

// App is one application.
type App struct {
	PackageName string // apk, lnx and win
	Versions    []Version
	Strategies  []Strategy // upgrade tasks; without one a version is not offered
}

// Version is one version of an application.
type Version struct {
	Code        int64
	Name        string // empty: "v" and the code
	Description string
	Arch        string // lnx and win
	URL         string // anything a person might type, also nothing
	SizeBytes   int64
	MD5         string
	Content     json.RawMessage // configuration; what is not an object breaks the offer
	Deleted     bool            // no longer found by a look-up, still offered by its strategy
}

// Strategy is an upgrade task: who is offered which version, when and how.
type Strategy struct {
	Version     int64
	Arch        string // of the version, for lnx and win
	Disabled    bool
	From, Until time.Time // zero: open
	UpgradeType int       // 1 prompt, 2 silent, 3 forced
	Prompt      string
	Models      []string // devModelKeys; nil: every model
	Devices     []string // devKeys; nil: every device
	Gray        *Gray
	Flow        *Flow
	// Broken, when set, stands for data that the server cannot read: reaching
	// the strategy is answered with HTTP 500 and this message.
	Broken string
}

// Gray bounds the number of offers, not of devices: each poll takes one.
type Gray struct {
	Limit       int
	From, Until time.Time // outside, everybody gets the offer; zero: open
	used        int
}

// Flow bounds the offers per span of time.
type Flow struct {
	Limit int
	Per   time.Duration
	began time.Time
	used  int
}

// Edit changes an application under the server's lock; it is made when there
// is none. A Gray or Flow that is replaced counts from zero.
func (s *Server) Edit(kind Kind, key string, change func(*App)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := appID{kind, key}
	if s.apps[id] == nil {
		s.apps[id] = &App{}
	}
	change(s.apps[id])
}

// Publish adds a version and an upgrade task that offers it, in one step.
func (s *Server) Publish(kind Kind, key string, v Version, how Strategy) {
	how.Version, how.Arch = v.Code, v.Arch
	s.Edit(kind, key, func(a *App) {
		a.Versions = append(a.Versions, v)
		a.Strategies = append(a.Strategies, how)
	})
}

// Delete removes an application.
func (s *Server) Delete(kind Kind, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.apps, appID{kind, key})
}

// app finds an application as the server's database does: trailing spaces of
// the key do not count.
func (s *Server) app(kind Kind, key string) *App {
	return s.apps[appID{kind, strings.TrimRight(key, " ")}]
}

// version finds a version; arch counts for the kinds that have one.
func (a *App) version(kind Kind, code int64, arch string) *Version {
	i := slices.IndexFunc(a.Versions, func(v Version) bool {
		return v.Code == code && (!kind.hasArch() || v.Arch == arch)
	})
	if i < 0 {
		return nil
	}
	return &a.Versions[i]
}

func (v *Version) name() string {
	if v.Name != "" {
		return v.Name
	}
	return "v" + jsonInt(v.Code)
}

// ask is what a device says about itself.
type ask struct {
	key                 string
	code, appoint       int64
	model, device, arch string
}

// choose walks the strategies from the newest version down and takes the first
// that fits; nil, nil, nil means that there is none. It counts gray and flow.
func (a *App) choose(kind Kind, q ask, now time.Time) (*Version, *Strategy, *failure) {
	order := make([]*Strategy, len(a.Strategies))
	for i := range a.Strategies {
		order[i] = &a.Strategies[i]
	}
	slices.SortStableFunc(order, func(x, y *Strategy) int { return cmp.Compare(y.Version, x.Version) })
	for _, st := range order {
		v := a.version(kind, st.Version, st.Arch)
		if v == nil || !st.mayServe(kind, q, now) {
			continue
		}
		if st.Broken != "" {
			return nil, nil, &failure{code: 500001, msg: st.Broken, docs: docsInternal(st.Broken)}
		}
		if !st.targets(q) || !st.Gray.take(now) {
			continue
		}
		if !st.Flow.take(now) {
			return nil, nil, &failure{429001, msgFlow, docsFlow}
		}
		return v, st, nil
	}
	return nil, nil, nil
}

func (st *Strategy) mayServe(kind Kind, q ask, now time.Time) bool {
	switch {
	case st.Version <= q.code || q.appoint > 0 && st.Version != q.appoint:
		return false
	case kind.hasArch() && st.Arch != q.arch:
		return false
	}
	return !st.Disabled && within(now, st.From, st.Until)
}

func (st *Strategy) targets(q ask) bool {
	return (st.Models == nil || slices.Contains(st.Models, q.model)) &&
		(st.Devices == nil || slices.Contains(st.Devices, q.device))
}

func within(now, from, until time.Time) bool {
	return (from.IsZero() || !now.Before(from)) && (until.IsZero() || now.Before(until))
}

// take uses up one offer; false when none is left. No rule takes everybody.
func (g *Gray) take(now time.Time) bool {
	if g == nil || !within(now, g.From, g.Until) {
		return true
	}
	if g.used >= g.Limit {
		return false
	}
	g.used++
	return true
}

func (f *Flow) take(now time.Time) bool {
	if f == nil {
		return true
	}
	if now.Sub(f.began).Abs() >= f.Per {
		f.began, f.used = now, 0
	}
	if f.used >= f.Limit {
		return false
	}
	f.used++
	return true
}
