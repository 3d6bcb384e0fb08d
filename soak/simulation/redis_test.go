package simulation

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	lua "github.com/yuin/gopher-lua"
)

// A redisServer is a model of Redis: it runs the scripts that it is sent, and knows the four commands that they call. Each script is
// atomic, a key ends at its time by the server's clock, and a failover loses what was written last.
type redisServer struct {
	server
	lua     *lua.LState
	scripts map[string]*lua.LFunction // by their hash
	keys    map[string]redisKey
	writes  []redisWrite // for a failover
	asker   *process     // whose script runs
}

type redisKey struct {
	value string
	ends  time.Time // zero: never
}

// A redisWrite is what a key was before.
type redisWrite struct {
	at     time.Duration
	key    string
	before redisKey
	was    bool
}

func newRedisServer(w *world) *redisServer {
	s := &redisServer{server: server{w: w, name: "redis"}, lua: lua.NewState(), scripts: map[string]*lua.LFunction{}, keys: map[string]redisKey{}}
	table := s.lua.NewTable()
	s.lua.SetField(table, "call", s.lua.NewFunction(s.call))
	s.lua.SetField(table, "error_reply", s.lua.NewFunction(func(l *lua.LState) int {
		l.Error(lua.LString(l.CheckString(1)), 0)
		return 0
	}))
	s.lua.SetGlobal("redis", table)
	return s
}

// get returns a key that hasn't ended.
func (s *redisServer) get(key string) (redisKey, bool) {
	k, ok := s.keys[key]
	if ok && !k.ends.IsZero() && !k.ends.After(s.now()) {
		s.write(key, redisKey{}, false)
		return redisKey{}, false
	}
	return k, ok
}

func (s *redisServer) now() time.Time { return time.Now().Add(s.offset) }

func (s *redisServer) write(key string, k redisKey, keep bool) {
	before, was := s.keys[key]
	s.writes = append(s.writes, redisWrite{s.w.now(), key, before, was})
	if keep {
		s.keys[key] = k
	} else {
		delete(s.keys, key)
	}
}

// call is redis.call.
func (s *redisServer) call(l *lua.LState) int {
	key := l.OptString(2, "")
	switch command := strings.ToUpper(l.CheckString(1)); command {
	case "GET":
		if k, ok := s.get(key); ok {
			l.Push(lua.LString(k.value))
		} else {
			l.Push(lua.LFalse)
		}
	case "SET":
		k := redisKey{value: l.CheckString(3)}
		if strings.ToUpper(l.OptString(4, "")) == "PX" {
			ms, err := strconv.ParseInt(l.CheckString(5), 10, 64)
			if err != nil {
				l.RaiseError("ERR value is not an integer or out of range")
			}
			k.ends = s.now().Add(time.Duration(ms) * time.Millisecond)
		}
		s.write(key, k, true)
		l.Push(lua.LString("OK"))
	case "DEL":
		_, ok := s.get(key)
		n := 0
		if ok {
			s.write(key, redisKey{}, false)
			n = 1
		}
		l.Push(lua.LNumber(n))
	case "TIME":
		now := s.now()
		if m := s.w.mutant; m != nil && m.clientClock {
			now = time.Now().Add(s.asker.skew)
		}
		t := l.NewTable()
		t.Append(lua.LString(strconv.FormatInt(now.Unix(), 10)))
		t.Append(lua.LString(strconv.FormatInt(int64(now.Nanosecond()/1000), 10)))
		l.Push(t)
	default:
		l.RaiseError("ERR the model doesn't know %s", command)
	}
	return 1
}

// A replyError is an error that the server answers.
type replyError string

func (e replyError) Error() string { return string(e) }

// RedisError implements redis.Error.
func (replyError) RedisError() {}

// run runs a command of go-redis, and returns the answer.
func (s *redisServer) run(p *process, args []any) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asker = p
	text := func(i int) string { return fmt.Sprint(args[i]) }
	var script *lua.LFunction
	switch command := strings.ToLower(text(0)); command {
	case "ping":
		return "PONG", nil
	case "evalsha":
		if script = s.scripts[text(1)]; script == nil {
			return nil, replyError("NOSCRIPT No matching script. Please use EVAL.")
		}
	case "eval":
		source := text(1)
		hash := sha1.Sum([]byte(source))
		if m := s.w.mutant; m != nil && m.lua != nil {
			source = m.lua(source)
		}
		var err error
		if script, err = s.lua.LoadString(source); err != nil {
			return nil, replyError("ERR Error compiling script: " + err.Error())
		}
		s.scripts[hex.EncodeToString(hash[:])] = script
	default:
		return nil, replyError("ERR unknown command '" + command + "'")
	}
	n, _ := strconv.Atoi(text(2))
	keys, argv := s.lua.NewTable(), s.lua.NewTable()
	for i := range args[3:] {
		if i < n {
			keys.Append(lua.LString(text(3 + i)))
		} else {
			argv.Append(lua.LString(text(3 + i)))
		}
	}
	s.lua.SetGlobal("KEYS", keys)
	s.lua.SetGlobal("ARGV", argv)
	if err := s.lua.CallByParam(lua.P{Fn: script, NRet: 1, Protect: true}); err != nil {
		return nil, replyError("ERR " + err.Error())
	}
	defer s.lua.Pop(1)
	switch v := s.lua.Get(-1).(type) {
	case lua.LString:
		return string(v), nil
	case lua.LNumber:
		return int64(v), nil
	case lua.LBool:
		if bool(v) {
			return int64(1), nil
		}
	}
	return nil, redis.Nil
}

// failover makes a replica the primary, which hasn't had the last writes yet. Scripts aren't there either.
func (s *redisServer) failover(r *rand.Rand, forgot func(event string)) {
	s.mu.Lock()
	lag := between(r, 0, 3*time.Second)
	since, lost := s.w.now()-lag, map[string]bool{}
	for len(s.writes) > 0 && s.writes[len(s.writes)-1].at >= since {
		last := s.writes[len(s.writes)-1]
		s.writes = s.writes[:len(s.writes)-1]
		if last.was {
			s.keys[last.key] = last.before
		} else {
			delete(s.keys, last.key)
		}
		lost[last.key] = true
	}
	clear(s.scripts)
	s.mu.Unlock()
	var events []string
	for key := range maps.Keys(lost) {
		event := aboutOf(key)
		events = append(events, event)
		forgot(event)
	}
	s.w.say(s.name, "FAILOVER: it forgets the writes of the last %v: of %d events", lag, len(events))
}

// client returns a client of go-redis whose connection is the model.
func (s *redisServer) client(p *process) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: "192.0.2.1:6379", ContextTimeoutEnabled: true, MaxRetries: -1, Dialer: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("simulation: nobody dials here")
	}})
	c.AddHook(redisHook{s, p})
	return c
}

// A redisHook carries the commands of a client to the model. Like go-redis it sends one again whose answer was lost.
type redisHook struct {
	server  *redisServer
	process *process
}

func (h redisHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h redisHook) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(context.Context, []redis.Cmder) error { return errors.New("simulation: no pipelines") }
}

func (h redisHook) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		args := cmd.Args()
		about, call := "-", fmt.Sprint(args[0])
		if len(args) > 3 {
			about = aboutOf(fmt.Sprint(args[3]))
			call = [...]string{"release", "complete", "claim"}[min(max(len(args)-5, 0), 2)]
		}
		const tries = 2
		var err error
		for n := 1; ; n++ {
			var value any
			var refused error
			err = h.process.ask(ctx, &h.server.server, request{call: call, about: about, effect: func() string {
				if value, refused = h.server.run(h.process, args); refused != nil {
					return refused.Error()
				}
				return fmt.Sprint(value)
			}})
			if err == nil {
				err = refused
				if c, ok := cmd.(*redis.Cmd); ok && err == nil {
					c.SetVal(value)
				}
				break
			}
			if n == tries || ctx.Err() != nil || !errors.Is(err, errLost) {
				break
			}
		}
		if err != nil {
			cmd.SetErr(err)
		}
		return err
	}
}

// aboutOf finds the event in a key: what follows the last '/'.
func aboutOf(key string) string { return key[strings.LastIndexByte(key, '/')+1:] }
