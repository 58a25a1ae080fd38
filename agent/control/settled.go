package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"otad/ota"
)

// settled is a request that a door outside of the daemon, as a console of its
// own process, settled by itself.
type settled struct {
	Request Request  `json:"request"`
	Code    ota.Code `json:"code,omitempty"` // "" for done
}

// auditPatience bounds how long a door waits until its word is remembered.
const auditPatience = 5 * time.Second

func audit(w http.ResponseWriter, req *http.Request, agent Verbs) {
	var s settled
	if err := decode(req.Body, maxRequest, &s); err != nil {
		writeJSON(w, refusal(usage("cannot read request: %w", err)))
		return
	}
	var verdict error
	if s.Code != "" {
		verdict = ota.NewRefused(s.Code, errors.New("refused at the door"))
	}
	if auditor, ok := agent.(Auditor); ok {
		auditor.Audit(s.Request, verdict)
	}
	writeJSON(w, Reply{V: Version, OK: true})
}

// Audit implements Auditor: the daemon remembers r. What cannot be brought to
// it is lost; the door's own log has it.
func (c *Client) Audit(r Request, verdict error) {
	ctx, cancel := context.WithTimeout(context.Background(), auditPatience)
	defer cancel()
	s := settled{Request: r}
	s.Request.V = Version
	if verdict != nil {
		s.Code = ota.FaultOf(verdict).Code
	}
	body, err := json.Marshal(s)
	if err != nil {
		return
	}
	if resp, err := c.send(ctx, http.MethodPost, "/v1/audit", bytes.NewReader(body)); err == nil {
		resp.Body.Close()
	}
}
