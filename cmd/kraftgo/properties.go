package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// supportedProperties are the client properties that have an effect here.
var supportedProperties = []string{
	"bootstrap.servers", "client.id", "client.rack", "security.protocol", "sasl.mechanism", "sasl.jaas.config",
	"ssl.truststore.location", "ssl.truststore.type", "ssl.truststore.certificates",
	"ssl.keystore.location", "ssl.keystore.type", "ssl.keystore.key", "ssl.keystore.certificate.chain",
	"ssl.endpoint.identification.algorithm", "ssl.enabled.protocols",
}

// harmlessProperties tune a client's timing and buffers. They are in many files, and leaving them out changes no result.
var harmlessProperties = []string{
	"auto.include.jmx.reporter", "batch.size", "buffer.memory", "client.dns.lookup", "connections.max.idle.ms", "default.api.timeout.ms",
	"delivery.timeout.ms", "enable.metrics.push", "fetch.max.bytes", "fetch.max.wait.ms", "fetch.min.bytes", "heartbeat.interval.ms",
	"linger.ms", "max.block.ms", "max.in.flight.requests.per.connection", "max.partition.fetch.bytes", "max.poll.interval.ms",
	"max.poll.records", "max.request.size", "metadata.max.age.ms", "metadata.max.idle.ms", "metadata.recovery.strategy",
	"metric.reporters", "metrics.num.samples", "metrics.recording.level", "metrics.sample.window.ms", "receive.buffer.bytes",
	"reconnect.backoff.max.ms", "reconnect.backoff.ms", "request.timeout.ms", "retries", "retry.backoff.max.ms", "retry.backoff.ms",
	"send.buffer.bytes", "session.timeout.ms", "socket.connection.setup.timeout.max.ms", "socket.connection.setup.timeout.ms",
	"ssl.protocol", "key.serializer", "value.serializer", "key.deserializer", "value.deserializer",
}

// flagProperties are said by a flag instead.
var flagProperties = map[string]string{
	"acks": "--acks of 'kraftgo produce'", "compression.type": "--compression of 'kraftgo produce'", "group.id": "--group of 'kraftgo consume'",
	"auto.offset.reset": "--from of 'kraftgo consume'", "isolation.level": "--isolation of 'kraftgo consume'",
}

// propertyOptions turns Kafka's client properties into options. A key without effect here is an error, unless it is
// well known and harmless.
func propertyOptions(properties map[string]string) ([]kgo.Opt, error) {
	for _, key := range slices.Sorted(maps.Keys(properties)) {
		if flag, ok := flagProperties[key]; ok {
			return nil, fmt.Errorf("%s is not read from a file: use %s", key, flag)
		}
		if !slices.Contains(supportedProperties, key) && !slices.Contains(harmlessProperties, key) {
			return nil, fmt.Errorf("%s is not a property that kraftgo supports", key)
		}
	}
	var out []kgo.Opt
	if id := properties["client.id"]; id != "" {
		out = append(out, kgo.ClientID(id))
	}
	if rack := properties["client.rack"]; rack != "" {
		out = append(out, kgo.Rack(rack))
	}
	protocol := strings.ToUpper(properties["security.protocol"])
	if protocol == "" {
		protocol = "PLAINTEXT"
	}
	if !slices.Contains([]string{"PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"}, protocol) {
		return nil, fmt.Errorf("security.protocol=%s: want PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL", protocol)
	}
	if strings.HasSuffix(protocol, "SSL") {
		config, err := tlsProperties(properties)
		if err != nil {
			return nil, err
		}
		out = append(out, kgo.DialTLSConfig(config))
	}
	if strings.HasPrefix(protocol, "SASL") {
		option, err := saslProperties(properties)
		if err != nil {
			return nil, err
		}
		out = append(out, option)
	}
	return out, nil
}

// tlsProperties reads the ssl.* properties. Stores are PEM, the form that needs no Java.
func tlsProperties(properties map[string]string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	for _, store := range []string{"ssl.truststore", "ssl.keystore"} {
		if kind, ok := properties[store+".type"]; ok && !strings.EqualFold(kind, "PEM") {
			return nil, fmt.Errorf("%s.type=%s: only PEM is supported", store, kind)
		}
	}
	trusted, from, err := pemProperty(properties, "ssl.truststore.certificates", "ssl.truststore.location")
	if err != nil {
		return nil, err
	}
	if from != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(trusted) {
			return nil, fmt.Errorf("%s holds no PEM certificate", from)
		}
	}
	if err := keyProperties(properties, config); err != nil {
		return nil, err
	}
	if err := versionProperties(properties["ssl.enabled.protocols"], config); err != nil {
		return nil, err
	}
	switch algorithm, given := properties["ssl.endpoint.identification.algorithm"]; {
	case !given || strings.EqualFold(algorithm, "https"):
	case algorithm == "":
		roots := config.RootCAs
		config.InsecureSkipVerify = true // of the name alone: the chain is verified here
		config.VerifyConnection = func(state tls.ConnectionState) error { return verifyChain(state, roots) }
	default:
		return nil, fmt.Errorf("ssl.endpoint.identification.algorithm=%s: want https, or nothing", algorithm)
	}
	return config, nil
}

func verifyChain(state tls.ConnectionState, roots *x509.CertPool) error {
	options := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(c)
	}
	_, err := state.PeerCertificates[0].Verify(options)
	return err
}

// pemProperty returns the PEM text that is in a property, or in the file another one names, and which of them it was.
func pemProperty(properties map[string]string, inline, location string) (text []byte, from string, err error) {
	if value := properties[inline]; value != "" {
		// In a file of properties a line break is either continued, which leaves no break, or written \n.
		return []byte(strings.ReplaceAll(value, `\n`, "\n")), inline, nil
	}
	name := properties[location]
	if name == "" {
		return nil, "", nil
	}
	if text, err = os.ReadFile(name); err != nil {
		return nil, "", fmt.Errorf("%s: %w", location, err)
	}
	if block, _ := pem.Decode(text); block == nil {
		return nil, "", fmt.Errorf("%s: %s holds no PEM; Java's stores are not supported", location, name)
	}
	return text, location, nil
}

// keyProperties reads the client's own certificate, if it has one.
func keyProperties(properties map[string]string, config *tls.Config) error {
	chain, from, err := pemProperty(properties, "ssl.keystore.certificate.chain", "ssl.keystore.location")
	if err != nil || from == "" {
		return err
	}
	key := chain
	if from == "ssl.keystore.certificate.chain" {
		if properties["ssl.keystore.key"] == "" {
			return errors.New("ssl.keystore.key is missing beside ssl.keystore.certificate.chain")
		}
		key = []byte(strings.ReplaceAll(properties["ssl.keystore.key"], `\n`, "\n"))
	}
	if strings.Contains(string(key), "ENCRYPTED PRIVATE KEY") {
		return fmt.Errorf("%s: the private key is encrypted, which is not supported", from)
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	config.Certificates = []tls.Certificate{pair}
	return nil
}

func versionProperties(list string, config *tls.Config) error {
	if list == "" {
		return nil
	}
	known := map[string]uint16{"TLSv1.2": tls.VersionTLS12, "TLSv1.3": tls.VersionTLS13}
	var versions []uint16
	for _, name := range strings.Split(list, ",") {
		v, ok := known[strings.TrimSpace(name)]
		if !ok {
			return fmt.Errorf("ssl.enabled.protocols=%s: want TLSv1.2, TLSv1.3 or both", list)
		}
		versions = append(versions, v)
	}
	config.MinVersion, config.MaxVersion = slices.Min(versions), slices.Max(versions)
	return nil
}

func saslProperties(properties map[string]string) (kgo.Opt, error) {
	mechanism := properties["sasl.mechanism"]
	if mechanism == "" {
		return nil, errors.New("sasl.mechanism is missing: want PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
	}
	module := map[string]string{"PLAIN": "PlainLoginModule", "SCRAM-SHA-256": "ScramLoginModule", "SCRAM-SHA-512": "ScramLoginModule"}[mechanism]
	if module == "" {
		return nil, fmt.Errorf("sasl.mechanism=%s is not supported: want PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", mechanism)
	}
	login, err := parseJAAS(properties["sasl.jaas.config"])
	if err != nil {
		return nil, fmt.Errorf("sasl.jaas.config: %w", err)
	}
	if !strings.HasSuffix(login.module, "."+module) {
		return nil, fmt.Errorf("sasl.jaas.config: %s does not go with sasl.mechanism=%s", login.module, mechanism)
	}
	user, password := login.options["username"], login.options["password"]
	if user == "" || password == "" {
		return nil, errors.New("sasl.jaas.config: username or password is missing")
	}
	switch mechanism {
	case "PLAIN":
		return kgo.SASL(plain.Auth{User: user, Pass: password}.AsMechanism()), nil
	case "SCRAM-SHA-256":
		return kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha256Mechanism()), nil
	}
	return kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha512Mechanism()), nil
}

// jaas is one login of a JAAS configuration: MODULE required name="value" ...;
type jaas struct {
	module  string
	options map[string]string
}

// parseJAAS reads one login. Errors do not repeat the text, which holds a password.
func parseJAAS(text string) (jaas, error) {
	module, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
	control, rest, _ := strings.Cut(strings.TrimSpace(rest), " ")
	if module == "" || !slices.Contains([]string{"required", "requisite", "sufficient", "optional"}, strings.ToLower(control)) {
		return jaas{}, errors.New(`want CLASS required username="..." password="...";`)
	}
	out := jaas{module: module, options: map[string]string{}}
	for {
		rest = strings.TrimSpace(rest)
		if rest == ";" {
			return out, nil
		}
		name, value, ok := strings.Cut(rest, "=")
		if !ok {
			return jaas{}, errors.New("it does not end with a semicolon")
		}
		name = strings.TrimSpace(name)
		text, left, err := jaasValue(strings.TrimSpace(value))
		if err != nil {
			return jaas{}, fmt.Errorf("option %s: %w", name, err)
		}
		out.options[name], rest = text, left
	}
}

// jaasValue takes one value, quoted or bare, off the front of text.
func jaasValue(text string) (value, rest string, err error) {
	if text == "" || (text[0] != '"' && text[0] != '\'') {
		end := strings.IndexAny(text, " \t;")
		if end < 0 {
			return "", "", errors.New("it does not end with a semicolon")
		}
		return text[:end], text[end:], nil
	}
	var out []byte
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == text[0]:
			return string(out), text[i+1:], nil
		case text[i] == '\\' && i+1 < len(text):
			i++
		}
		out = append(out, text[i])
	}
	return "", "", errors.New("the closing quote is missing")
}
