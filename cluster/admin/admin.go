// Package admin is the node's HTTP listener for operators: metrics for Prometheus, health, readiness, and profiles.
//
//	/metrics       Prometheus text format
//	/healthz       200 while the process works
//	/readyz        200 while the node serves; 503 with the reason while it starts, stops, or its disk has failed
//	/debug/pprof/  Go's profiles, to callers on loopback only
//	/debug/...     what [Server.Debug] adds, to callers on loopback only
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Server is the listener. It serves from Serve to Close.
type Server struct {
	net   net.Listener
	http  *http.Server
	ended chan error
	ready atomic.Pointer[func() error] // nil: not ready
	mux   *http.ServeMux
}

// Serve starts to serve on l.
func Serve(l net.Listener, metrics *prometheus.Registry) *Server {
	s := &Server{net: l, ended: make(chan error, 1)}
	mux := http.NewServeMux()
	s.mux = mux
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", s.readyz)
	for path, h := range map[string]http.HandlerFunc{
		"/debug/pprof/": pprof.Index, "/debug/pprof/cmdline": pprof.Cmdline, "/debug/pprof/profile": pprof.Profile,
		"/debug/pprof/symbol": pprof.Symbol, "/debug/pprof/trace": pprof.Trace,
	} {
		mux.HandleFunc(path, loopbackOnly(h))
	}
	// Profiles take as long as they are asked to, so there is no write timeout.
	s.http = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	go func() { s.ended <- s.http.Serve(l) }()
	return s
}

// Addr returns the bound address.
func (s *Server) Addr() string { return s.net.Addr().String() }

// Debug has a path answer, to callers on loopback only, with what of returns, as JSON, or with its error.
func (s *Server) Debug(path string, of func(*http.Request) (any, error)) {
	s.mux.HandleFunc("GET "+path, loopbackOnly(func(w http.ResponseWriter, r *http.Request) {
		a, err := of(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		e := json.NewEncoder(w)
		e.SetIndent("", " ")
		if err := e.Encode(a); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
}

// Ready makes /readyz ask check.
func (s *Server) Ready(check func() error) { s.ready.Store(&check) }

// Unready makes /readyz refuse.
func (s *Server) Unready() { s.ready.Store(nil) }

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	check := s.ready.Load()
	if check == nil {
		http.Error(w, "the node is starting or stopping", http.StatusServiceUnavailable)
		return
	}
	if err := (*check)(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

func loopbackOnly(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
			http.Error(w, "this is served to loopback only", http.StatusForbidden)
			return
		}
		h(w, r)
	}
}

// Close stops serving; requests in work get until ctx ends.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	if served := <-s.ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
