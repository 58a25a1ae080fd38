package main

import (
	"encoding/json"
	"net/url"
	"regexp"
	"strings"

	"otad/agent/config"
)

// blotted is what stands where a secret stood.
const blotted = "(secret)"

// leastSecret is the length of what is worth blotting out, in bytes: shorter
// ones are in every text by chance.
const leastSecret = 4

// blotter takes out of a text what could be a secret: whatever the settings
// name as one, should it be there against all rules, and of every URL the user
// and the query, in which servers put tokens.
func blotter(cfg *config.Config) func(string) string {
	var pairs []string
	for _, s := range secrets(cfg) {
		quoted, err := json.Marshal(s)
		if err != nil {
			panic(err) // a text always marshals
		}
		for _, form := range []string{s, url.QueryEscape(s), url.PathEscape(s), strings.Trim(string(quoted), `"`)} {
			pairs = append(pairs, form, blotted)
		}
	}
	named := strings.NewReplacer(pairs...)
	return func(text string) string { return urlInText.ReplaceAllStringFunc(named.Replace(text), bareURL) }
}

// secrets are those that the settings name; a file that cannot be read tells none.
func secrets(cfg *config.Config) []string {
	var list []string
	for _, path := range []string{cfg.Server.SecretKeyFile, cfg.MQTT.PasswordFile, cfg.Console.PINFile, cfg.Console.KeyFile, cfg.Install.KeyFile} {
		if s, err := config.ReadSecret(path); err == nil {
			list = append(list, strings.Fields(s)...)
		}
	}
	for _, address := range append([]string{cfg.Server.URL, cfg.Server.Proxy}, cfg.MQTT.Brokers...) {
		if u, err := url.Parse(address); err == nil {
			password, _ := u.User.Password()
			list = append(list, password)
		}
	}
	var worth []string
	for _, s := range list {
		if len(s) >= leastSecret {
			worth = append(worth, s)
		}
	}
	return worth
}

var urlInText = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://[^\s"<>]+`)

// bareURL is a URL without user, query and fragment. It goes by the text, so
// that what is no right URL loses them too.
func bareURL(text string) string {
	scheme, rest, _ := strings.Cut(text, "://")
	if at := strings.IndexAny(rest, "?#"); at >= 0 {
		rest = rest[:at] + "?..."
	}
	path := strings.IndexByte(rest+"/", '/')
	return scheme + "://" + rest[strings.LastIndex(rest[:path], "@")+1:]
}
