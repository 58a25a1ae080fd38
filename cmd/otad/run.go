package main

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"otad/agent"
	"otad/agent/config"
	"otad/agent/control"
	"otad/agent/report"
	"otad/cmd/internal/cli"
	"otad/ota"
	"otad/transport"
	"otad/transport/mqtt"
)

// run is the service.
func run(ctx context.Context, env cli.Env, args []string) error {
	fs := cli.Flags("otad run")
	path := configFlag(fs)
	if _, err := cli.Parse(fs, args, 0, 0); err != nil {
		return err
	}
	cfg, err := config.Load(*path)
	if err != nil {
		return err
	}
	b, err := openBox(cfg, env, mode{poll: true})
	if err != nil {
		return err
	}
	defer b.close()
	listener, err := control.Listen(cfg.Control.Socket)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	var doors sync.WaitGroup
	doors.Go(func() {
		if err := control.Serve(ctx, listener, b.agent); err != nil {
			b.log.Error("the local door is closed", "cause", err)
		}
	})
	closeBroker, err := openBroker(ctx, cfg, b, &doors)
	if err == nil {
		err = b.agent.Run(ctx)
	}
	closeBroker()
	stop()
	doors.Wait()
	if errors.Is(err, agent.ErrRebooting) {
		return cli.Exit(cli.RebootNeeded)
	}
	if errors.Is(err, context.Canceled) {
		return cli.Exit(cli.Done) // asked to end, as services are
	}
	return err
}

// farewell bounds the polite end of the broker's connection.
const farewell = 2 * time.Second

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
	topics := report.Topics{Prefix: cfg.MQTT.Prefix, Model: cfg.Device.Model, Device: cfg.Device.Key}
	var client *mqtt.Client
	opened := make(chan struct{})
	up := make(chan struct{}, 1)
	options.Will = &transport.Message{Topic: topics.State(), QoS: 1, Retained: true,
		Payload: report.Offline(topics.Model, topics.Device)}
	options.Subscriptions = topics.Commands()
	options.OnUp = func() {
		select {
		case up <- struct{}{}:
		default: // the publisher has not looked yet
		}
	}
	options.Receive = func(m transport.Message) {
		<-opened
		obey(ctx, b, client, topics, m)
	}
	client, err = mqtt.Open(options)
	if err != nil {
		return func() {}, err
	}
	close(opened)
	publisher := &report.Publisher{Broker: client, Outbox: b.journal, Source: b.agent, Topics: topics, Log: b.log, Up: up}
	doors.Go(func() { publisher.Run(ctx) })
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), farewell)
		defer cancel()
		if err := client.Close(ctx); err != nil {
			b.log.Debug("the broker was left without a word", "cause", err)
		}
	}, nil
}

func brokerOptions(cfg *config.Config, b *box) (mqtt.Options, error) {
	for key, name := range map[string]string{"device.model": cfg.Device.Model, "device.key": cfg.Device.Key} {
		if err := mqtt.ValidName(name); err != nil {
			return mqtt.Options{}, ota.NewPermanent(ota.CodeConfig, errors.New(key+" cannot be part of an MQTT topic: "+err.Error()))
		}
	}
	tls, err := tlsConfig(cfg.MQTT.CA, b.clock)
	if err != nil {
		return mqtt.Options{}, err
	}
	if cfg.MQTT.Certificate != "" {
		if err := clientCertificate(tls, cfg.MQTT); err != nil {
			return mqtt.Options{}, err
		}
	}
	o := mqtt.Options{
		Brokers: cfg.MQTT.Brokers, ClientID: "otad-" + cfg.Device.Model + "-" + cfg.Device.Key,
		Username: cfg.MQTT.Username, TLS: tls, KeepAlive: time.Duration(cfg.MQTT.KeepAlive), Logger: b.log,
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

// obey acts on a command from the broker and publishes the result. A result
// that cannot be published is lost: the sender asks again with `status`.
func obey(ctx context.Context, b *box, client *mqtt.Client, topics report.Topics, m transport.Message) {
	result, ok := control.Obey(ctx, b.agent, b.agent, m.Payload, b.clock.Now())
	if !ok {
		b.log.Debug("message ignored", "topic", m.Topic, "bytes", len(m.Payload))
		return
	}
	b.log.Info("command", "id", result.ID, "verb", result.Verb, "ok", result.OK, "code", result.Code)
	payload, err := json.Marshal(result)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		err = client.Publish(ctx, transport.Message{Topic: topics.Result(), Payload: payload, QoS: 1})
	}
	if err != nil {
		b.log.Warn("result not published", "id", result.ID, "cause", err)
	}
}
