package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"otad/agent/config"
	"otad/agent/control"
	"otad/agent/report"
	"otad/ota"
	"otad/transport"
	"otad/transport/mqtt"
)

const (
	farewell     = 2 * time.Second  // for the polite end of the connection
	maxResults   = 64               // results that wait for the broker
	resultWait   = 20 * time.Second // for one acknowledgement
	resultRetry  = time.Second
	resultExpiry = 10 * time.Minute // after which nobody waits for a result any more
)

// brokerDoor is the MQTT door: what the box says on the broker and obeys from
// there.
type brokerDoor struct {
	box     *box
	client  *mqtt.Client
	topics  report.Topics
	desk    *control.Desk
	results chan control.Result
	last    chan struct{}         // closed when no more results come
	said    chan struct{}         // closed when they are published, or never will be
	hush    func()                // gives up what is not published yet
	home    *report.HomeAssistant // nil when it is off
}

// openBroker opens the MQTT door, if one is configured, and returns what
// closes it.
func openBroker(ctx context.Context, cfg *config.Config, b *box, doors *sync.WaitGroup) (closeIt func(), err error) {
	if len(cfg.MQTT.Brokers) == 0 {
		return func() {}, nil
	}
	options, err := brokerOptions(cfg, b)
	if err != nil {
		return func() {}, err
	}
	keys, err := commandKeys(cfg)
	if err != nil {
		return func() {}, err
	}
	topics := brokerTopics(cfg)
	d := &brokerDoor{box: b, topics: topics, results: make(chan control.Result, maxResults), last: make(chan struct{}), said: make(chan struct{})}
	d.desk = &control.Desk{Verbs: b.agent, Once: b.agent, Now: b.clock.Now, Answer: d.answer, Log: b.log,
		Own: topics.Command(), Device: topics.Model + "/" + topics.Device, Spread: time.Duration(cfg.MQTT.GroupSpread),
		Keys: keys, File: filepath.Join(cfg.State.Dir, "waiting.json")}
	d.desk.Open()
	up, homeUp := make(chan struct{}, 1), make(chan struct{}, 1)
	opened := make(chan struct{})
	options.OnUp = func() { ring(up); ring(homeUp) }
	options.Receive = func(m transport.Message) {
		<-opened
		d.receive(ctx, m)
	}
	if d.client, err = mqtt.Open(options); err != nil {
		return func() {}, err
	}
	if cfg.MQTT.HomeAssistant {
		d.home = &report.HomeAssistant{Broker: d.client, Source: b.agent, Topics: topics, Log: b.log, Up: homeUp}
		doors.Go(func() { d.home.Run(ctx) })
	}
	close(opened)
	publisher := &report.Publisher{Broker: d.client, Outbox: b.journal, Source: b.agent, Topics: topics, Log: b.log, Up: up}
	doors.Go(func() { publisher.Run(ctx) })
	doors.Go(func() { d.desk.Run(ctx) })
	// A command may end the service: its result goes out all the same.
	late, hush := context.WithCancel(context.WithoutCancel(ctx))
	d.hush = hush
	doors.Go(func() { d.publishResults(late) })
	return d.close, nil
}

func (d *brokerDoor) close() {
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	d.desk.Rest(ctx)
	close(d.last)
	select {
	case <-d.said:
	case <-ctx.Done():
	}
	d.hush()
	if err := d.client.Close(ctx); err != nil {
		d.box.log.Debug("the broker was left without a word", "cause", err)
	}
}

// ring tells who waits for c, unless it was told already and has not looked.
func ring(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (d *brokerDoor) receive(ctx context.Context, m transport.Message) {
	if d.home == nil || m.Topic != d.topics.HomeAssistantInstall() {
		d.desk.Take(ctx, m.Topic, m.Payload)
		return
	}
	if m.Retained || string(m.Payload) != report.HomeAssistantPress {
		return // a button that stays pressed is none
	}
	// The button has no id of its own; the desk holds it to all other rules.
	command, err := json.Marshal(control.Command{V: control.Version, ID: "home-assistant-" + rand.Text()[:12],
		Verb: control.Upgrade, Args: control.Args{Now: true}})
	if err != nil {
		panic(err) // plain values always marshal
	}
	d.desk.Take(ctx, d.topics.Command(), command)
}

// answer hands a result over for publishing; more than can wait are lost, and
// the sender may ask again.
func (d *brokerDoor) answer(r control.Result) {
	select {
	case d.results <- r:
	default:
		d.box.log.Debug("result not published: too many wait", "id", r.ID)
	}
}

// publishResults brings the results to the broker one after the other, each
// again and again until it is there, up to the last one.
func (d *brokerDoor) publishResults(ctx context.Context) {
	defer close(d.said)
	for {
		select {
		case r := <-d.results:
			d.publishResult(ctx, r)
			continue
		case <-d.last:
		}
		select {
		case r := <-d.results:
			d.publishResult(ctx, r)
		default:
			return
		}
	}
}

func (d *brokerDoor) publishResult(ctx context.Context, r control.Result) {
	payload, err := json.Marshal(r)
	for begun := time.Now(); err == nil; {
		once, cancel := context.WithTimeout(ctx, resultWait)
		err = d.client.Publish(once, transport.Message{Topic: d.topics.Result(), Payload: payload, QoS: 1})
		cancel()
		if err == nil || ctx.Err() != nil {
			return
		}
		if errors.Is(err, transport.ErrOffline) && time.Since(begun) < resultExpiry {
			err = nil
			select {
			case <-time.After(resultRetry):
			case <-ctx.Done():
				return
			}
		}
	}
	d.box.log.Warn("result not published", "id", r.ID, "cause", err)
}

func brokerTopics(cfg *config.Config) report.Topics {
	return report.Topics{Prefix: cfg.MQTT.Prefix, Model: cfg.Device.Model, Device: cfg.Device.Key}
}

// commandKeys are those that commands must be signed with, if there are any.
func commandKeys(cfg *config.Config) (control.CommandKeys, error) {
	files, err := config.ReadFiles(cfg.MQTT.CommandKeys...)
	if err != nil {
		return nil, err
	}
	keys, err := control.ParseCommandKeys(files...)
	if err != nil {
		return nil, ota.NewPermanent(ota.CodeConfig, fmt.Errorf("cannot use mqtt.command_keys: %w", err))
	}
	return keys, nil
}

// brokerOptions are the settings of the connection: everything but what is
// called back.
func brokerOptions(cfg *config.Config, b *box) (mqtt.Options, error) {
	for key, name := range map[string]string{"device.model": cfg.Device.Model, "device.key": cfg.Device.Key} {
		err := mqtt.ValidName(name)
		if err == nil && name == report.Group {
			err = errors.New("it stands for all boxes")
		}
		if err != nil {
			return mqtt.Options{}, ota.NewPermanent(ota.CodeConfig, fmt.Errorf("%s cannot be part of an MQTT topic: %w", key, err))
		}
	}
	tls, err := tlsConfig(cfg.MQTT.CA, b.clock)
	if err != nil {
		return mqtt.Options{}, err
	}
	tls.NextProtos = cfg.MQTT.ALPN
	if cfg.MQTT.Certificate != "" {
		if err := clientCertificate(tls, cfg.MQTT); err != nil {
			return mqtt.Options{}, err
		}
	}
	topics := brokerTopics(cfg)
	o := mqtt.Options{
		Brokers: cfg.MQTT.Brokers, ClientID: "otad-" + cfg.Device.Model + "-" + cfg.Device.Key,
		Username: cfg.MQTT.Username, TLS: tls, KeepAlive: time.Duration(cfg.MQTT.KeepAlive), Logger: b.log,
		Will: &transport.Message{Topic: topics.State(), QoS: 1, Retained: true,
			Payload: report.Offline(topics.Model, topics.Device)},
		Subscriptions: topics.Commands(),
	}
	if cfg.MQTT.HomeAssistant {
		o.Subscriptions = append(o.Subscriptions, topics.HomeAssistantInstall())
	}
	if cfg.MQTT.PasswordFile != "" {
		password, err := config.ReadSecret(cfg.MQTT.PasswordFile)
		if err != nil {
			return mqtt.Options{}, err
		}
		o.Password = mqtt.NewPassword(password)
	}
	return o, nil
}
