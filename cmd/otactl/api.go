package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"

	"otad/cmd/internal/cli"
	"otad/transport/upgradelink"
)

// apiCommand asks an UpgradeLink server one question as a box would.
func apiCommand() cli.Command {
	return cli.Command{
		Name:    "api",
		Args:    "ROUTE --server URL --access-key A --secret-file FILE --key K --code N [--model M] [--device D] [--appoint N] [--arch A] [--json]",
		Summary: "ask an UpgradeLink server one question, as a box would (exit 3: it has nothing)",
		Run:     runAPI,
	}
}

// apiCall is what the options say.
type apiCall struct {
	options    upgradelink.Options
	secretFile string
	query      upgradelink.Query
	event      upgradelink.Event
	json       bool
}

// apiRoutes are the questions; each answers with a value to print.
var apiRoutes = map[string]func(context.Context, *upgradelink.Client, *apiCall) (any, error){
	"url-upgrade":           asking((*upgradelink.Client).UpgradeURL),
	"file-upgrade":          asking((*upgradelink.Client).UpgradeFile),
	"apk-upgrade":           asking((*upgradelink.Client).UpgradeAPK),
	"lnx-upgrade":           asking((*upgradelink.Client).UpgradeLinux),
	"win-upgrade":           asking((*upgradelink.Client).UpgradeWindows),
	"configuration-upgrade": asking((*upgradelink.Client).UpgradeConfiguration),
	"url-version":           asking((*upgradelink.Client).VersionURL),
	"file-version":          asking((*upgradelink.Client).VersionFile),
	"apk-version":           asking((*upgradelink.Client).VersionAPK),
	"lnx-version":           asking((*upgradelink.Client).VersionLinux),
	"win-version":           asking((*upgradelink.Client).VersionWindows),
	"configuration-version": asking((*upgradelink.Client).VersionConfiguration),
	"app-report":            reporting,
}

func asking[T any](ask func(*upgradelink.Client, context.Context, upgradelink.Query) (T, error)) func(context.Context, *upgradelink.Client, *apiCall) (any, error) {
	return func(ctx context.Context, c *upgradelink.Client, call *apiCall) (any, error) {
		return ask(c, ctx, call.query)
	}
}

func reporting(ctx context.Context, c *upgradelink.Client, call *apiCall) (any, error) {
	e := call.event
	e.AppKey, e.VersionCode, e.TargetVersionCode = call.query.Key, call.query.VersionCode, call.query.AppointVersionCode
	e.ModelKey, e.DeviceKey, e.Arch = call.query.ModelKey, call.query.DeviceKey, call.query.Arch
	return struct {
		Reported bool `json:"reported"`
	}{true}, c.Report(ctx, e)
}

func runAPI(ctx context.Context, env cli.Env, args []string) error {
	call := &apiCall{}
	fs := apiFlags(env, call)
	operands, err := cli.Parse(fs, args, 1, 1)
	if err != nil {
		return err
	}
	ask, known := apiRoutes[operands[0]]
	if !known {
		return cli.Usagef("no route %q; there are %s", operands[0],
			strings.Join(slices.Sorted(maps.Keys(apiRoutes)), " "))
	}
	if err := requireFlags(fs, "server", "access-key", "secret-file", "key", "code"); err != nil {
		return err
	}
	if call.options.Secret, err = upgradelink.ReadSecret(call.secretFile); err != nil {
		return err
	}
	client, err := upgradelink.New(call.options)
	if err != nil {
		return err
	}
	answer, err := ask(ctx, client, call)
	if errors.Is(err, upgradelink.ErrNoOffer) {
		if err := printNothing(env.Stdout, call.json); err != nil {
			return err
		}
		return cli.Exit(cli.Nothing)
	}
	if err != nil {
		return err
	}
	return printAnswer(env.Stdout, answer, call.json)
}

func apiFlags(env cli.Env, call *apiCall) *flag.FlagSet {
	fs := cli.Flags("api")
	fs.StringVar(&call.options.BaseURL, "server", "", "scheme and host of the server")
	fs.StringVar(&call.options.AccessKey, "access-key", "", "access key")
	fs.StringVar(&call.secretFile, "secret-file", "", "`file` with the secret key")
	fs.StringVar(&call.query.Key, "key", "", "application key: urlKey, configurationKey, …")
	fs.Int64Var(&call.query.VersionCode, "code", 0, "versionCode that runs now; for *-version, the one to look up")
	fs.Int64Var(&call.query.AppointVersionCode, "appoint", 0, "the one versionCode wanted; for app-report, the one downloaded or upgraded to")
	fs.StringVar(&call.query.ModelKey, "model", "", "devModelKey")
	fs.StringVar(&call.query.DeviceKey, "device", "", "devKey")
	fs.StringVar(&call.query.Arch, "arch", "", "architecture, for lnx and win: x64, arm64")
	fs.StringVar((*string)(&call.event.Type), "event", string(upgradelink.EventStart), "for app-report: app_start, app_upgrade_download, app_upgrade_upgrade")
	fs.Int64Var(&call.event.Code, "result", upgradelink.ResultOK, "for app-report: result code, 0 is success")
	fs.BoolVar(&call.json, "json", false, "print JSON; null when there is nothing")
	return fs
}

func requireFlags(fs *flag.FlagSet, names ...string) error {
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for _, name := range names {
		if !given[name] {
			return cli.Usagef("missing option --%s", name)
		}
	}
	return nil
}

func printNothing(w io.Writer, asJSON bool) error {
	text := "nothing for this box: up to date, not targeted, or the rollout is paused or full\n"
	if asJSON {
		text = "null\n"
	}
	_, err := io.WriteString(w, text)
	return err
}

// printAnswer prints one line of JSON, or one line per member for people; both
// with the names of the API.
func printAnswer(w io.Writer, answer any, asJSON bool) error {
	var line bytes.Buffer
	e := json.NewEncoder(&line)
	e.SetEscapeHTML(false)
	if err := e.Encode(answer); err != nil {
		return err
	}
	if asJSON {
		_, err := line.WriteTo(w)
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	d := json.NewDecoder(&line)
	d.Token() // the opening brace
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		fmt.Fprintf(tw, "%s\t%s\n", name, forPeople(name.(string), value))
	}
	return tw.Flush()
}

// forPeople is a value as text: strings without quotes unless they hold what
// would upset a terminal.
func forPeople(name string, value json.RawMessage) string {
	var text string
	var kind upgradelink.UpgradeType
	switch {
	case json.Unmarshal(value, &text) == nil:
		if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			return fmt.Sprintf("%q", text)
		}
		return text
	case name == "upgradeType" && json.Unmarshal(value, &kind) == nil:
		return fmt.Sprintf("%d (%s)", kind, kind)
	}
	return string(value)
}
