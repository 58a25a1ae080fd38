package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"

	"otad/ota"
)

// publishPath takes an artifact as the body of a POST, and in its query the
// members of a [Release].
const publishPath = "/lab/publish"

// maxArtifact bounds what is taken.
const maxArtifact = 8 << 30

func (s *Server) servePublish(w http.ResponseWriter, r *http.Request) {
	release, err := parseRelease(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if release.What != "" {
		if err := s.serveChannel(w, r, release); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, "%s %d is offered to every box\n", release.What, release.Version.Code)
		return
	}
	release.File, err = s.store(release.Version.Code, http.MaxBytesReader(w, r.Body, maxArtifact))
	if err == nil {
		_, err = s.Publish(release)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, "version %d is offered to every box\n", release.Version.Code)
}

// store keeps an artifact under a name of its own, so that a version that is
// published again does not change under those who fetch it.
func (s *Server) store(code int64, body io.Reader) (name string, err error) {
	f, err := os.CreateTemp(s.dir, fmt.Sprintf("%d-*.swu", code))
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, body)
	return f.Name(), errors.Join(err, f.Close())
}

func (r Release) query() url.Values {
	return url.Values{
		"code": {strconv.FormatInt(r.Version.Code, 10)},
		"name": {r.Version.Name},
		"type": {strconv.Itoa(int(r.Type))},
		"what": {r.What},
	}
}

func parseRelease(q url.Values) (Release, error) {
	code, err := strconv.ParseInt(q.Get("code"), 10, 64)
	if err != nil || code <= 0 {
		return Release{}, fmt.Errorf("cannot publish: code %q is no version code", q.Get("code"))
	}
	kind, err := strconv.Atoi(q.Get("type"))
	if err != nil || kind < int(ota.UpgradePrompt) || kind > int(ota.UpgradeForced) {
		return Release{}, fmt.Errorf("cannot publish: type %q is not 1 (prompt), 2 (silent) or 3 (forced)", q.Get("type"))
	}
	what := q.Get("what")
	if what != "" && what != whatConfiguration && what != whatPackage {
		return Release{}, fmt.Errorf("cannot publish: %q is neither configuration nor package", what)
	}
	return Release{Version: ota.Version{Code: code, Name: q.Get("name")}, Type: ota.UpgradeType(kind), What: what}, nil
}

// PublishTo hands a release to the server of another process at labURL, and
// returns what that says.
func PublishTo(ctx context.Context, labURL string, r Release) (string, error) {
	f, err := os.Open(r.File)
	if err != nil {
		return "", fmt.Errorf("cannot publish %q: %w", r.File, err)
	}
	defer f.Close()
	text, err := call(ctx, http.MethodPost, labURL+publishPath+"?"+r.query().Encode(), f)
	if err != nil {
		return "", fmt.Errorf("cannot publish %q: %w", r.File, err)
	}
	return string(text), nil
}

// accessPath answers with what a new box has to know.
const accessPath = "/lab/access"

type newcomer struct {
	Access Access
	CA     []byte
}

func (s *Server) serveAccess(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(newcomer{s.Access(), s.ca}) // to a client that may have gone
}

// AccessTo asks the server of another process at labURL what a new box has to
// know: how to reach it, and the CA to trust.
func AccessTo(ctx context.Context, labURL string) (Access, []byte, error) {
	var n newcomer
	text, err := call(ctx, http.MethodGet, labURL+accessPath, nil)
	if err == nil {
		err = json.Unmarshal(text, &n)
	}
	if err != nil {
		return Access{}, nil, fmt.Errorf("cannot join the lab: %w", err)
	}
	return n.Access, n.CA, nil
}

// call makes one request and returns the short answer to it.
func call(ctx context.Context, method, url string, body io.Reader) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", answer.Status, bytes.TrimSpace(text))
	}
	return text, nil
}
