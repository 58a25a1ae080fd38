package upgradelinktest_test

import (
	"bufio"
	"context"
	"crypto/md5"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"otad/transport/upgradelink/upgradelinktest"
)

// sender makes requests without the client under transport/upgradelink.
type sender struct {
	nonce, stamp, secret string
}

func (f sender) post(t *testing.T, s *upgradelinktest.Server, path, body string) (int, int, string) {
	t.Helper()
	resp, err := f.do(t.Context(), s, path, body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	answer := struct {
		Code int
		Msg  string
	}{Code: -1}
	json.Unmarshal(text, &answer)
	return resp.StatusCode, answer.Code, answer.Msg
}

var serial struct {
	sync.Mutex
	n int
}

func (f sender) do(ctx context.Context, s *upgradelinktest.Server, path, body string) (*http.Response, error) {
	if f.nonce == "" {
		serial.Lock()
		serial.n++
		f.nonce = fmt.Sprintf("%016d", serial.n)
		serial.Unlock()
	}
	if f.stamp == "" {
		f.stamp = time.Now().Format(time.RFC3339)
	}
	if f.secret == "" {
		f.secret = upgradelinktest.DemoSecretKey
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	sum := md5.Sum([]byte("body=" + body + "&nonce=" + f.nonce + "&secretKey=" + f.secret + "&timestamp=" + f.stamp + "&url=" + path))
	for name, value := range map[string]string{
		"Content-Type": "application/json", "X-Timestamp": f.stamp, "X-Nonce": f.nonce,
		"X-AccessKey": upgradelinktest.DemoAccessKey, "X-Signature": fmt.Sprintf("%x", sum),
	} {
		req.Header.Set(name, value)
	}
	return http.DefaultClient.Do(req)
}

func start(t *testing.T, o upgradelinktest.Options) *upgradelinktest.Server {
	s := upgradelinktest.NewServer(o)
	t.Cleanup(s.Close)
	return s
}

const askV1 = `{"urlKey":"k","versionCode":1}`

func TestStrictNonces(t *testing.T) {
	t.Parallel()
	const long = "fc812cc0b9b51e8c"
	for _, row := range []struct {
		name    string
		lenient bool
		nonces  []string
		codes   []int
	}{
		{"strict, fresh", false, []string{long, long + "2"}, []int{200, 200}},
		{"strict, repeated", false, []string{long, long}, []int{200, 400004}},
		{"strict, short", false, []string{long[1:]}, []int{400004}},
		{"lenient, repeated", true, []string{long, long}, []int{200, 200}},
		{"lenient, short", true, []string{"1"}, []int{200}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, upgradelinktest.Options{Lenient: row.lenient})
			s.Publish(upgradelinktest.URL, "k", upgradelinktest.Version{Code: 2}, upgradelinktest.Strategy{})
			for i, nonce := range row.nonces {
				if _, code, msg := (sender{nonce: nonce}).post(t, s, "/v1/url/upgrade", askV1); code != row.codes[i] {
					t.Errorf("call %d: code %d (%s), want %d", i+1, code, msg, row.codes[i])
				}
			}
		})
	}
}

// A nonce of a call with a wrong signature stays free: nobody else can use up
// somebody's nonces.
func TestForgedCallUsesNoNonce(t *testing.T) {
	t.Parallel()
	s := start(t, upgradelinktest.Options{})
	s.Publish(upgradelinktest.URL, "k", upgradelinktest.Version{Code: 2}, upgradelinktest.Strategy{})
	const nonce = "fc812cc0b9b51e8c"
	if _, code, _ := (sender{nonce: nonce, secret: "wrong"}).post(t, s, "/v1/url/upgrade", askV1); code != 401002 {
		t.Errorf("forged: code %d", code)
	}
	if _, code, _ := (sender{nonce: nonce}).post(t, s, "/v1/url/upgrade", askV1); code != 200 {
		t.Errorf("genuine: code %d", code)
	}
}

func TestCatalogChangesWhileRunning(t *testing.T) {
	t.Parallel()
	s := start(t, upgradelinktest.Options{})
	for _, step := range []struct {
		name string
		do   func()
		code int
	}{
		{"no such application", func() {}, 404001},
		{"a version is published", func() {
			s.Publish(upgradelinktest.URL, "k", upgradelinktest.Version{Code: 2}, upgradelinktest.Strategy{})
		}, 200},
		{"its task is disabled", func() {
			s.Edit(upgradelinktest.URL, "k", func(a *upgradelinktest.App) { a.Strategies[0].Disabled = true })
		}, 0},
		{"enabled for a model", func() {
			s.Edit(upgradelinktest.URL, "k", func(a *upgradelinktest.App) {
				a.Strategies[0].Disabled, a.Strategies[0].Models = false, []string{"stv1"}
			})
		}, 0},
		{"for every model, one request a day", func() {
			s.Edit(upgradelinktest.URL, "k", func(a *upgradelinktest.App) {
				a.Strategies[0].Models, a.Strategies[0].Flow = nil, &upgradelinktest.Flow{Limit: 1, Per: 24 * time.Hour}
			})
		}, 200},
		{"the day's request is used up", func() {}, 429001},
		{"the application is deleted", func() { s.Delete(upgradelinktest.URL, "k") }, 404001},
		{"the access key is disabled", func() { s.SetKey(upgradelinktest.DemoAccessKey, "") }, 401001},
	} {
		step.do()
		if _, code, msg := (sender{}).post(t, s, "/v1/url/upgrade", askV1); code != step.code {
			t.Errorf("%s: code %d (%s), want %d", step.name, code, msg, step.code)
		}
	}
}

// Concurrent calls take exactly as many places as there are.
func TestGrayCountsExactly(t *testing.T) {
	t.Parallel()
	s := start(t, upgradelinktest.Options{})
	s.Publish(upgradelinktest.URL, "k", upgradelinktest.Version{Code: 2},
		upgradelinktest.Strategy{Gray: &upgradelinktest.Gray{Limit: 5}})
	var codes [20]int
	var group sync.WaitGroup
	for i := range codes {
		group.Go(func() { _, codes[i], _ = (sender{}).post(t, s, "/v1/url/upgrade", askV1) })
	}
	group.Wait()
	count := map[int]int{}
	for _, code := range codes {
		count[code]++
	}
	if count[200] != 5 || count[0] != 15 {
		t.Errorf("codes: %v", count)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	s := start(t, upgradelinktest.Options{})
	s.Publish(upgradelinktest.URL, "k", upgradelinktest.Version{Code: 2}, upgradelinktest.Strategy{})
	once := func(f upgradelinktest.Fault) upgradelinktest.Fault { f.Times = 1; return f }
	s.Inject(once(upgradelinktest.Crash))
	s.Inject(once(upgradelinktest.BreakerOpen))
	s.Inject(once(upgradelinktest.Portal))
	s.Inject(upgradelinktest.Fault{Path: "/v1/app/", Status: 500})
	for i, want := range []int{500, 503, 200} {
		if status, code, _ := (sender{}).post(t, s, "/v1/url/upgrade", askV1); status != want || code != -1 {
			t.Errorf("fault %d: status %d, code %d", i+1, status, code)
		}
	}
	if status, code, _ := (sender{}).post(t, s, "/v1/url/upgrade", askV1); status != 200 || code != 200 {
		t.Errorf("after the faults: status %d, code %d", status, code)
	}
	s.ClearFaults()

	s.Inject(once(upgradelinktest.CutOff))
	resp, err := (sender{}).do(t.Context(), s, "/v1/url/upgrade", askV1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut answer: %v", err)
	}
	resp.Body.Close()

	s.Inject(once(upgradelinktest.Stalled))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := (sender{}).do(ctx, s, "/v1/url/upgrade", askV1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stalled: %v", err)
	}
}

func TestDate(t *testing.T) {
	t.Parallel()
	at := time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)
	s := start(t, upgradelinktest.Options{Now: func() time.Time { return at }})
	raw := func() string {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(resp.Header["Date"], "|")
	}
	if got := raw(); got != "Tue, 06 May 2031 07:08:09 GMT" {
		t.Errorf("Date %q", got)
	}
	s.SetDate(func(time.Time) string { return "" })
	if got := raw(); got != "" {
		t.Errorf("Date %q, want none", got)
	}
	s.SetDate(func(now time.Time) string { return "yesterday" })
	if got := raw(); got != "yesterday" {
		t.Errorf("Date %q", got)
	}
}

func TestReportsAndRequestsAreKept(t *testing.T) {
	t.Parallel()
	s := start(t, upgradelinktest.Options{})
	body := `{"eventType":"app_upgrade_upgrade","timestamp":"2026-11-22T12:00:00+08:00","appKey":"k","eventData":{"versionCode":1,"upgradeVersionCode":2,"devKey":"d","code":1004}}`
	if _, code, _ := (sender{}).post(t, s, "/v1/app/report", body); code != 0 {
		t.Fatalf("code %d", code)
	}
	if _, code, _ := (sender{}).post(t, s, "/v1/app/report", strings.Replace(body, "app_upgrade_upgrade", "app_rollback", 1)); code != 0 {
		t.Fatalf("unknown event: code %d", code)
	}
	reports := s.Reports()
	if len(reports) != 1 {
		t.Fatalf("%d reports, want the known one", len(reports))
	}
	if r := reports[0]; r.Type != "app_upgrade_upgrade" || r.Code != 1004 || r.TargetVersionCode != 2 || r.DeviceKey != "d" ||
		!r.Time.Equal(time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC)) {
		t.Errorf("report %+v", r)
	}
	requests := s.Requests()
	if len(requests) != 2 || requests[0].Body != body || requests[0].Target != "/v1/app/report" ||
		requests[0].Status != 200 || requests[0].Code != 0 {
		t.Errorf("requests %+v", requests)
	}
}
