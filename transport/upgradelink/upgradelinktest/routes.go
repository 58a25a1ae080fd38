package upgradelinktest

import (
	"encoding/json"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// route finds what a path asks for. Paths are cleaned before they are matched,
// and signed as they came.
func (s *Server) route(c *call) {
	parts := strings.Split(strings.Trim(path.Clean(c.r.URL.Path), "/"), "/")
	method, serve := "", (func())(nil)
	if len(parts) == 3 && parts[0] == "v1" {
		kind := Kind(parts[1])
		switch {
		case kind == "app" && parts[2] == "report":
			method, serve = http.MethodPost, c.report
		case !kind.known():
		case parts[2] == "upgrade":
			method, serve = http.MethodPost, func() { c.upgrade(kind) }
		case parts[2] == "version":
			method, serve = http.MethodPost, func() { c.version(kind) }
		case parts[2] == "download" && kind != Configuration:
			method, serve = http.MethodGet, func() { c.download(kind) }
		}
	}
	switch {
	case serve == nil:
		c.traced()
		c.w.Header().Set("X-Content-Type-Options", "nosniff")
		c.send(http.StatusNotFound, "text/plain; charset=utf-8", []byte("404 page not found\n"))
	case c.r.Method != method:
		c.w.Header().Set("Allow", method)
		c.send(http.StatusMethodNotAllowed, "", nil)
	case c.r.ContentLength > maxRequestBytes:
		c.traced()
		c.w.Header().Set("Connection", "close")
		c.send(http.StatusRequestEntityTooLarge, "", nil)
	default:
		c.traced()
		c.readBody()
		if method == http.MethodPost {
			if f := c.authenticate(); f != nil {
				c.failTraced(f, "")
				return
			}
		}
		serve()
	}
}

func (c *call) upgrade(kind Kind) {
	f := c.parse()
	q := ask{
		key:     f.str(string(kind)+"Key", true),
		arch:    f.str("arch", kind == Linux),
		code:    f.int("versionCode", kind != File),
		appoint: f.int("appointVersionCode", false),
		model:   f.str("devModelKey", false),
		device:  f.str("devKey", false),
	}
	switch {
	case f.err != nil:
		c.fail(f.err)
		return
	case q.key == "" || q.code < 0 || q.code == 0 && kind != URL:
		c.fail(badParameter(kind, "upgrade-strategy"))
		return
	}
	data, failed := c.offer(kind, q)
	switch {
	case failed != nil:
		c.fail(failed)
	case data == nil:
		nothing, _ := offerData(kind, "", "", "", &Version{}, &Strategy{})
		c.succeed(0, msgLatest, docsLatest, nothing)
	default:
		c.succeed(200, msgNew, "", data)
	}
}

// offer looks for an offer under the lock; nil, nil means that there is none.
func (c *call) offer(kind Kind, q ask) (object, *failure) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	app := c.s.app(kind, q.key)
	if app == nil {
		return nil, noApp(kind)
	}
	v, st, failed := app.choose(kind, q, c.now)
	if v == nil || failed != nil {
		return nil, failed
	}
	data, ok := offerData(kind, strings.TrimRight(q.key, " "), app.PackageName, v.name(), v, st)
	if !ok {
		return nil, internalError()
	}
	return data, nil
}

// offerData writes an offer; false when the content of a configuration is not
// an object. Without an offer the server writes the same members with zeros.
func offerData(kind Kind, key, packageName, versionName string, v *Version, st *Strategy) (object, bool) {
	o := object{{string(kind) + "Key", key}}
	if kind == APK || kind.hasArch() {
		o = append(o, object{{"packageName", packageName}}...)
	}
	o = append(o, object{{"versionName", versionName}, {"versionCode", v.Code}}...)
	if kind.hasArch() {
		o = append(o, object{{"arch", ""}}...) // always empty: the server forgets it
	}
	if kind != Configuration {
		o = append(o, object{{"urlPath", v.URL}}...)
	}
	if kind != Configuration && kind != URL {
		o = append(o, object{{"urlFileSize", v.SizeBytes}}...)
	}
	if kind == APK || kind.hasArch() {
		o = append(o, object{{"urlFileMd5", v.MD5}}...)
	}
	if kind == APK {
		o = append(o, object{{"patchAlgo", 0}, {"patchUrlPath", ""}, {"patchUrlFileSize", 0}, {"patchUrlFileMd5", ""}}...)
	}
	o = append(o, object{{"upgradeType", st.UpgradeType}, {"promptUpgradeContent", st.Prompt}}...)
	if kind != Configuration {
		return o, true
	}
	// As the server does, the content goes through Go's own maps and floats.
	var content map[string]any
	if len(v.Content) > 0 && json.Unmarshal(v.Content, &content) != nil {
		return nil, false
	}
	return append(o, object{{"content", content}}...), true
}

func (c *call) version(kind Kind) {
	f := c.parse()
	key := f.str(string(kind)+"Key", true)
	arch := ""
	if kind.hasArch() {
		arch = f.str("arch", true)
	}
	code := f.int("versionCode", kind == APK || kind.hasArch())
	switch {
	case f.err != nil:
		c.fail(f.err)
		return
	case key == "" || code == 0:
		c.fail(badParameter(kind, "version"))
		return
	}
	data, failed := c.lookUp(kind, key, code, arch)
	if failed != nil {
		c.fail(failed)
		return
	}
	c.succeed(200, "", "", data)
}

func (c *call) lookUp(kind Kind, key string, code int64, arch string) (object, *failure) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	app := c.s.app(kind, key)
	if app == nil {
		return nil, noApp(kind)
	}
	v := app.version(kind, code, arch)
	if v == nil || v.Deleted {
		return nil, noVersion(kind)
	}
	o := object{{string(kind) + "Key", strings.TrimRight(key, " ")}}
	if kind == APK || kind.hasArch() {
		o = append(o, object{{"packageName", app.PackageName}}...)
	}
	o = append(o, object{{"versionName", v.name()}, {"versionCode", v.Code}}...)
	if kind.hasArch() {
		o = append(o, object{{"arch", ""}}...)
	}
	return append(o, object{{"description", v.Description}}...), nil
}

// download redirects to a version's URL, unsigned and for everybody.
func (c *call) download(kind Kind) {
	query := c.r.URL.Query()
	key, arch := query.Get(string(kind)+"Key"), query.Get("arch")
	for _, name := range []string{string(kind) + "Key", "arch"} {
		if query.Get(name) == "" && (name != "arch" || kind.hasArch()) {
			c.fail(&failure{code: 400002, msg: `field "` + name + `" is not set`})
			return
		}
	}
	code := int64(0)
	if text := query.Get("versionCode"); text != "" {
		var err error
		if code, err = strconv.ParseInt(text, 10, 64); err != nil {
			c.fail(&failure{code: 500001, msg: err.Error()})
			return
		}
	}
	if code < 0 {
		c.fail(badParameter(kind, "upgrade-strategy"))
		return
	}
	address, failed := c.address(kind, key, code, arch)
	if failed != nil {
		c.fail(failed)
		return
	}
	c.log(http.StatusFound)
	http.Redirect(c.w, c.r, address, http.StatusFound)
}

// address finds the URL of a version; code 0 is the newest.
func (c *call) address(kind Kind, key string, code int64, arch string) (string, *failure) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	app := c.s.app(kind, key)
	if app == nil {
		return "", noApp(kind)
	}
	var found *Version
	for i := range app.Versions {
		v := &app.Versions[i]
		fits := !v.Deleted && (code == 0 || v.Code == code) && (!kind.hasArch() || v.Arch == arch)
		if fits && (found == nil || v.Code > found.Code) {
			found = v
		}
	}
	if found == nil {
		return "", noVersion(kind)
	}
	return found.URL, nil
}
