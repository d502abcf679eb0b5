let audio: AudioContext | undefined;
let resuming = false;

/** Whether a sound would be heard now. Browsers suspend audio until the user has clicked on the page. */
export function canPlay(): boolean {
  audio ??= new AudioContext();
  return audio.state === "running";
}

/** Whether the browser plays no sound because the user has not clicked, or pressed a key, on the page yet. */
export function isSoundBlocked(): boolean {
  return !(navigator.userActivation?.hasBeenActive ?? true);
}

/** Calls the listener when the browser begins to allow sound. Returns a function that unsubscribes. */
export function onSoundAllowed(listener: () => void): () => void {
  const abort = new AbortController();
  // The browser takes the event into account when its listeners have run.
  const onInput = () =>
    setTimeout(() => {
      if (abort.signal.aborted || isSoundBlocked()) return;
      abort.abort();
      listener();
    });
  for (const name of ["pointerup", "keydown"]) addEventListener(name, onInput, { signal: abort.signal });
  return () => abort.abort();
}

/** Plays two notes; if the browser does not allow it yet, once after the next click, however many sounds were due. */
export function chime(): void {
  if (canPlay()) return playTones(audio as AudioContext);
  if (resuming) return;
  resuming = true;
  const suspended = audio as AudioContext;
  addEventListener("pointerdown", () => void suspended.resume(), { once: true });
  void suspended.resume().then(() => {
    resuming = false;
    playTones(suspended);
  });
}

/** A fifth apart. */
function playTones(context: AudioContext): void {
  for (const [index, hertz] of [659.25, 987.77].entries()) {
    const start = context.currentTime + index * 0.12;
    const tone = context.createOscillator();
    const volume = context.createGain();
    tone.frequency.value = hertz;
    volume.gain.setValueAtTime(0, start);
    volume.gain.linearRampToValueAtTime(0.12, start + 0.015);
    volume.gain.exponentialRampToValueAtTime(0.0001, start + 0.6);
    tone.connect(volume).connect(context.destination);
    tone.start(start);
    tone.stop(start + 0.65);
  }
}
