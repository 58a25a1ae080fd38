package mqtttest

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"otad/transport"
)

// maxSeen bounds what a View keeps; the oldest messages go first.
const maxSeen = 10_000

// View is an independent subscriber: a plain paho client that keeps what it
// sees, and comes back by itself when the broker does.
type View struct {
	client paho.Client

	mu    sync.Mutex
	first int // number of the oldest message in seen
	seen  []transport.Message
	news  chan struct{} // closed and renewed with each message
}

// Watch opens a View at url. User may be empty, and config nil for plain TCP.
func Watch(url, user, password string, config *tls.Config, filters ...string) (*View, error) {
	v := &View{news: make(chan struct{})}
	wanted := make(map[string]byte)
	for _, f := range filters {
		wanted[f] = 1
	}
	subscribed := make(chan error, 1)
	o := paho.NewClientOptions().AddBroker(url).
		SetClientID("view-" + rand.Text()).SetCleanSession(false).
		SetUsername(user).SetPassword(password).SetTLSConfig(config).
		SetMaxReconnectInterval(time.Second).
		SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { v.add(m) }).
		SetOnConnectHandler(func(c paho.Client) {
			token := c.SubscribeMultiple(wanted, nil)
			token.Wait()
			select {
			case subscribed <- token.Error():
			default:
			}
		})
	v.client = paho.NewClient(o)
	if token := v.client.Connect(); token.Wait() && token.Error() != nil {
		return nil, fmt.Errorf("cannot watch %q: %w", url, token.Error())
	}
	if err := <-subscribed; err != nil {
		v.Close()
		return nil, fmt.Errorf("cannot watch %q: %w", url, err)
	}
	return v, nil
}

// Messages returns what was seen until now.
func (v *View) Messages() []transport.Message {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]transport.Message(nil), v.seen...)
}

// Wait returns the first message that is wanted, of those seen and to come.
func (v *View) Wait(ctx context.Context, wanted func(transport.Message) bool) (transport.Message, error) {
	var found transport.Message
	err := v.Follow(ctx, func(m transport.Message) bool {
		found = m
		return !wanted(m)
	})
	return found, err
}

// Follow calls each with every message, those seen and those to come, in
// order, until it returns false or ctx ends, which is an error.
func (v *View) Follow(ctx context.Context, each func(transport.Message) bool) error {
	for next := 0; ; {
		v.mu.Lock()
		news := v.news
		batch := v.seen[min(max(next-v.first, 0), len(v.seen)):]
		next = v.first + len(v.seen)
		v.mu.Unlock()
		for _, m := range batch {
			if !each(m) {
				return nil
			}
		}
		select {
		case <-news:
		case <-ctx.Done():
			return fmt.Errorf("cannot see the message: %w", ctx.Err())
		}
	}
}

// Close ends the view; what it has seen remains.
func (v *View) Close() { v.client.Disconnect(250) }

func (v *View) add(m paho.Message) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.seen = append(v.seen, transport.Message{
		Topic: m.Topic(), Payload: m.Payload(), QoS: m.Qos(), Retained: m.Retained(),
	})
	if extra := len(v.seen) - maxSeen; extra > 0 {
		v.seen = v.seen[extra:]
		v.first += extra
	}
	close(v.news)
	v.news = make(chan struct{})
}

// views are those of one broker.
type views struct {
	mu  sync.Mutex
	all []*View
}

func (vs *views) open(url string, config Config, filters []string) (*View, error) {
	if len(filters) == 0 {
		return nil, errors.New("cannot watch nothing: no topic filter")
	}
	var user, password string
	for user, password = range config.Users {
		break
	}
	var client *tls.Config
	if config.Authority != nil {
		client = config.Authority.ClientTLS(config.Mutual)
	}
	v, err := Watch(url, user, password, client, filters...)
	if err != nil {
		return nil, err
	}
	vs.mu.Lock()
	defer vs.mu.Unlock()
	vs.all = append(vs.all, v)
	return v, nil
}

func (vs *views) close() {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	for _, v := range vs.all {
		v.Close()
	}
	vs.all = nil
}
