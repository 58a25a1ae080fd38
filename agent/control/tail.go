package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"otad/ota"
)

// LogFollower is what Verbs may be besides: it calls each with the last n lines
// of the log, 20 for 0, and then with those that come, until each returns
// false or ctx ends.
type LogFollower interface {
	FollowLogs(ctx context.Context, n int, each func(lines []string) bool) error
}

// streamLogs is the socket's side of it: a Reply in a line for each call.
func streamLogs(w http.ResponseWriter, req *http.Request, agent Verbs) {
	n, err := strconv.Atoi(req.FormValue("limit"))
	follower, can := agent.(LogFollower)
	switch {
	case err != nil || n < 0:
		writeJSON(w, refusal(usage("cannot follow the log: limit is %q", req.FormValue("limit"))))
		return
	case !can:
		writeJSON(w, refusal(usage("cannot follow the log: there is none")))
		return
	}
	flusher := http.NewResponseController(w)
	err = follower.FollowLogs(req.Context(), n, func(lines []string) bool {
		raw, err := json.Marshal(lines)
		return err == nil && writeJSON(w, Reply{V: Version, OK: true, Data: raw}) && flusher.Flush() == nil
	})
	if err != nil && req.Context().Err() == nil {
		writeJSON(w, refusal(err))
	}
}

// FollowLogs implements LogFollower through the daemon. io.EOF when it ends.
func (c *Client) FollowLogs(ctx context.Context, n int, each func(lines []string) bool) error {
	resp, err := c.send(ctx, http.MethodGet, "/v1/logs?"+url.Values{"limit": {strconv.Itoa(n)}}.Encode(), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	replies := json.NewDecoder(resp.Body)
	for {
		var reply Reply
		var lines []string
		err := replies.Decode(&reply)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return io.EOF // however the connection ended, the daemon is gone
		case !reply.OK:
			return reply.Err()
		}
		if err := json.Unmarshal(reply.Data, &lines); err != nil {
			return ota.NewTransient(ota.CodeInternal, errors.New("cannot read the daemon's log"))
		}
		if !each(lines) {
			return nil
		}
	}
}
