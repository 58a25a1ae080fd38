package fleet

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"otad/agent/report"
	"otad/build/tooltest"
	"otad/ota"
	"otad/transport"
)

var screenshot = flag.Bool("screenshot", false, "write docs/mqtt/fleet.png and fleet-dark.png anew")

// patience is how long the browser may take for anything.
const patience = 30 * time.Second

// browser is a page in a headless Chromium, driven by the DevTools protocol.
type browser struct {
	t    *testing.T
	conn *websocket.Conn
	id   int
}

// openBrowser starts Chromium with url. Where there is none the test is
// skipped, but fails under CI.
func openBrowser(t *testing.T, url string) *browser {
	t.Helper()
	program := tooltest.Path(t, "chromium")
	dir, err := os.MkdirTemp("", "chromium") // not t.TempDir: its processes end a little later than it does
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--remote-debugging-port=0", "--remote-allow-origins=*", "--hide-scrollbars", "--window-size=1280,800", "--user-data-dir="+dir, url)
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		os.RemoveAll(dir)
	})
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if address, ok := strings.CutPrefix(lines.Text(), "DevTools listening on ws://"); ok {
			go func() { // it must not block on a full pipe
				for lines.Scan() {
				}
			}()
			b := &browser{t: t, conn: dialPage(t, strings.SplitN(address, "/", 2)[0], url)}
			t.Cleanup(func() { b.conn.Close() })
			return b
		}
	}
	t.Fatalf("chromium does not start: %v", lines.Err())
	return nil
}

// dialPage finds the tab that shows url.
func dialPage(t *testing.T, host, url string) *websocket.Conn {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		resp, err := http.Get("http://" + host + "/json/list")
		if err != nil {
			continue
		}
		var tabs []struct{ URL, WebSocketDebuggerURL string }
		err = json.NewDecoder(resp.Body).Decode(&tabs)
		resp.Body.Close()
		for _, tab := range tabs {
			if err == nil && strings.HasPrefix(tab.URL, url) {
				conn, _, err := websocket.DefaultDialer.Dial(tab.WebSocketDebuggerURL, nil)
				if err != nil {
					t.Fatal(err)
				}
				return conn
			}
		}
	}
	t.Fatal("chromium opens no page")
	return nil
}

// call performs one method and returns its result.
func (b *browser) call(method string, params any) json.RawMessage {
	b.t.Helper()
	b.id++
	b.conn.SetReadDeadline(time.Now().Add(patience))
	if err := b.conn.WriteJSON(map[string]any{"id": b.id, "method": method, "params": params}); err != nil {
		b.t.Fatal(err)
	}
	for {
		var answer struct {
			ID     int
			Result json.RawMessage
			Error  *struct{ Message string }
		}
		if err := b.conn.ReadJSON(&answer); err != nil {
			b.t.Fatalf("%s: %v", method, err)
		}
		if answer.ID != b.id {
			continue // an event
		}
		if answer.Error != nil {
			b.t.Fatalf("%s: %s", method, answer.Error.Message)
		}
		return answer.Result
	}
}

// eval is the value of a JavaScript expression, as text.
func (b *browser) eval(expression string) string {
	b.t.Helper()
	var r struct {
		Result           struct{ Value any }
		ExceptionDetails *struct{ Exception struct{ Description string } }
	}
	result := b.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true})
	if err := json.Unmarshal(result, &r); err != nil {
		b.t.Fatal(err)
	}
	if r.ExceptionDetails != nil {
		return r.ExceptionDetails.Exception.Description // the page may not be there yet
	}
	return fmt.Sprint(r.Result.Value)
}

// wait waits until an expression has a value.
func (b *browser) wait(expression, want string) {
	b.t.Helper()
	got := ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if got = b.eval(expression); got == want {
			return
		}
	}
	b.t.Errorf("%s is %q, want %q", expression, got, want)
}

func (b *browser) press(key, text string) {
	b.t.Helper()
	b.call("Input.dispatchKeyEvent", map[string]any{"type": "keyDown", "key": key, "text": text})
	b.call("Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": key})
}

func (b *browser) shot(file string) {
	b.t.Helper()
	var r struct{ Data string }
	err := json.Unmarshal(b.call("Page.captureScreenshot", map[string]any{"format": "png"}), &r)
	data, decodeErr := base64.StdEncoding.DecodeString(r.Data)
	if err = errors.Join(err, decodeErr); err == nil {
		err = os.WriteFile(file, data, 0o644)
	}
	if err != nil {
		b.t.Error(err)
	}
}

// TestPage looks at the page as a person does: a box appears, its progress
// moves, a rollback shows; keys work; a telephone is wide enough; two thousand
// boxes are not too many; and what a box calls itself is text and nothing else.
func TestPage(t *testing.T) {
	t.Parallel()
	f := New("otad")
	srv := httptest.NewServer(f.Handler())
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	b := openBrowser(t, srv.URL)
	b.wait(`document.getElementById('link').textContent`, "live")
	b.wait(`document.getElementById('none').hidden`, "false")

	f.Take(say(t, "stv1/one", "state", idle(41)))
	b.wait(`document.querySelectorAll('li').length`, "1")
	b.wait(`document.querySelector('.slot.runs').textContent`, "slot a · runs41")
	f.Take(say(t, "stv1/one", "state", updating(41, 42, 10)))
	b.wait(`document.querySelector('li progress').value`, "10")
	f.Take(say(t, "stv1/one", "progress", report.Progress{V: 1, Update: "u", Phase: ota.PhaseInstalling, Stage: "write", Percent: 64,
		Transfer: report.TransferOf(64<<20, 100<<20, 4<<20)}))
	b.wait(`document.querySelector('li progress').value`, "64")
	b.wait(`document.querySelector('.slot.two').textContent`, "slot b · write42")
	b.wait(`document.querySelector('.far').textContent`, "64 % of 100.0 MiB, 9 s left")
	f.Take(transport.Message{Topic: "otad/stv1/one/state", Payload: report.Offline("stv1", "one")})
	b.wait(`document.querySelector('li').className`, "off")
	f.Take(say(t, "stv1/one", "state", rolledBack(41)))
	b.wait(`document.querySelector('li').className`, "bad")
	b.wait(`document.querySelector('.note').textContent`, "rolled-back: cannot confirm: sick")

	for i, s := range []report.State{updating(41, 42, 33), updating(41, 42, 78), idle(42), idle(42), idle(42), idle(41)} {
		s.Version.Name = fmt.Sprintf("4.%d.0", s.Version.Code-39)
		if s.Update != nil {
			s.Update.To.Name = "4.3.0"
			s.Transfer = report.TransferOf(int64(s.Percent)*512<<20/100, 512<<20, 8<<20)
		}
		f.Take(say(t, fmt.Sprintf("stv2/02:00:00:00:00:%02x", i), "state", s))
	}
	b.wait(`document.querySelectorAll('li').length`, "7")
	b.wait(`document.getElementById('bar').getAttribute('aria-label')`, "1 in trouble, 2 updating, 4 fine")
	if *screenshot {
		f.Take(transport.Message{Topic: "otad/stv2/02:00:00:00:00:05/state", Payload: report.Offline("stv2", "02:00:00:00:00:05")})
		b.wait(`document.querySelectorAll('li.off').length`, "1")
		b.shot("../../../docs/mqtt/fleet.png")
		b.call("Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]any{"name": "prefers-color-scheme", "value": "dark"}}})
		b.shot("../../../docs/mqtt/fleet-dark.png")
	}

	hostile := idle(7)
	hostile.Version.Name = `<img src=x onerror="window.owned=1"></script><script>window.owned=1</script>`
	f.Take(say(t, `stv1/<b onclick=alert(1)>`, "state", hostile))
	b.wait(`document.querySelectorAll('li').length`, "8")
	b.wait(`document.querySelectorAll('li img, li script, li b[onclick]').length + ' ' + window.owned`, "0 undefined")

	b.press("/", "/")
	b.wait(`document.activeElement.id + document.activeElement.value`, "filter")
	for _, letter := range "stv2" {
		b.press(string(letter), string(letter))
	}
	b.wait(`document.querySelectorAll('li').length`, "6")
	b.press("Escape", "")
	b.wait(`document.querySelectorAll('li').length`, "8")
	b.eval(`document.activeElement.blur()`)
	b.press("ArrowDown", "")
	b.wait(`document.activeElement === document.querySelector('li')`, "true")
	b.press("ArrowDown", "")
	b.wait(`document.activeElement === document.querySelectorAll('li')[1]`, "true")

	light := b.eval(`getComputedStyle(document.body).backgroundColor`)
	b.call("Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]any{"name": "prefers-color-scheme", "value": "dark"}}})
	if dark := b.eval(`getComputedStyle(document.body).backgroundColor`); dark == light && !*screenshot {
		t.Errorf("dark and light are both %s", dark)
	}
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": 340, "height": 700, "deviceScaleFactor": 1, "mobile": true})
	b.wait(`document.documentElement.scrollWidth <= 340`, "true")
	b.call("Emulation.clearDeviceMetricsOverride", struct{}{})

	for i := range 2000 {
		f.Take(say(t, fmt.Sprintf("stv3/%04d", i), "state", idle(41)))
	}
	b.wait(`document.querySelectorAll('li').length`, "2008")
	begin := time.Now()
	f.Take(say(t, "stv3/0042", "state", updating(41, 42, 99)))
	b.wait(`[...document.querySelectorAll('li')].some((c) => c.querySelector('progress').value === 99)`, "true")
	t.Logf("a change among 2008 boxes is on the page after %v", time.Since(begin).Round(time.Millisecond))
}
