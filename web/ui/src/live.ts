// An answer that is asked again when the server says that new data was committed; the old one stays until the new one is here.
import { useEffect, useRef, useState } from 'preact/hooks';
import { ApiError, get } from './api';

export interface Answer<T> { data: T | null; error: ApiError | null; at: number; asking: boolean }

const POLL_MS = 5000; // also without a tick: a window moves on by itself
const LEAST_MS = 1500;

type Listener = () => void;
const ticks = new Set<Listener>();
let source: EventSource | null = null;

function listen(l: Listener): () => void {
  ticks.add(l);
  if (!source) {
    source = new EventSource('/api/telltale/v1/stream');
    source.addEventListener('tick', () => ticks.forEach((t) => t()));
  }
  return () => {
    ticks.delete(l);
    if (!ticks.size && source) {
      source.close();
      source = null;
    }
  };
}

export function useAnswer<T>(path: string | null, live: boolean): Answer<T> & { again: () => void } {
  const [answer, set] = useState<Answer<T>>({ data: null, error: null, at: 0, asking: true });
  const again = useRef<Listener>(() => {});
  useEffect(() => {
    if (path === null) return;
    let over = false, running = false, wanted = false, last = 0;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const stop = new AbortController();
    const ask = async () => {
      if (over) return;
      if (running) {
        wanted = true;
        return;
      }
      clearTimeout(timer);
      running = true;
      last = Date.now();
      try {
        const data = await get<T>(path, stop.signal);
        if (!over) set({ data, error: null, at: Date.now(), asking: false });
      } catch (e) {
        if (!over) set((old) => ({ ...old, error: e instanceof ApiError ? e : new ApiError(0, String(e)), asking: false }));
      }
      running = false;
      if (!over && live) timer = setTimeout(ask, wanted ? LEAST_MS : POLL_MS);
      wanted = false;
    };
    const tick = () => {
      if (document.hidden) return;
      if (running) {
        wanted = true;
        return;
      }
      clearTimeout(timer);
      timer = setTimeout(ask, Math.max(0, last + LEAST_MS - Date.now()));
    };
    again.current = () => void ask();
    set((old) => ({ ...old, asking: true }));
    void ask();
    const leave = live ? listen(tick) : () => {};
    const shown = () => void (document.hidden || !live || ask());
    document.addEventListener('visibilitychange', shown);
    return () => {
      over = true;
      stop.abort();
      clearTimeout(timer);
      leave();
      document.removeEventListener('visibilitychange', shown);
    };
  }, [path, live]);
  return { ...answer, again: () => again.current() };
}

// A clock for "3 s ago"; one timer for the whole page would tick needlessly where nothing ages.
export function useNow(everyMs: number): number {
  const [now, set] = useState(Date.now());
  useEffect(() => {
    const t = setInterval(() => set(Date.now()), everyMs);
    return () => clearInterval(t);
  }, [everyMs]);
  return now;
}
