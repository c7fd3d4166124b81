// Requests, all with the token that the page's address bore.

const KEPT = "token";
const LONGEST_WAIT = 5000;

// The token is taken out of the address, where it would be seen and copied; this tab keeps it.
export function admit() {
  const address = new URL(location.href);
  const token = address.searchParams.get("token");
  if (token) {
    sessionStorage.setItem(KEPT, token);
    address.searchParams.delete("token");
    history.replaceState(null, "", address);
  }
}

function headers() {
  return { authorization: `Bearer ${sessionStorage.getItem(KEPT) ?? ""}` };
}

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function answer(response) {
  const said = await response.json();
  if (!response.ok) throw new Refused(response.status, said.error ?? said.message ?? response.statusText);
  return said;
}

export async function get(path) {
  return answer(await fetch(path, { headers: headers() }));
}

export async function post(path, value) {
  return answer(await fetch(path, { method: "POST", headers: headers(), body: JSON.stringify(value) }));
}

// Sends files in one parcel: a line that lists them, then their bytes.
export async function send(files) {
  const line = JSON.stringify(files.map((file) => ({ name: file.name, size: file.size })));
  return answer(await fetch("api/files", { method: "POST", headers: headers(), body: new Blob([line, "\n", ...files]) }));
}

// Follows a stream of events for ever: tell(event, value); lost() while it is away.
export async function follow(path, tell, lost) {
  let wait = 250;
  for (;;) {
    try {
      const response = await fetch(path, { headers: headers() });
      if (!response.ok) await answer(response);
      wait = 250;
      await read(response.body, tell);
    } catch (error) {
      if (error instanceof Refused && error.status < 500) throw error;
    }
    lost();
    await new Promise((done) => setTimeout(done, wait));
    wait = Math.min(wait * 2, LONGEST_WAIT);
  }
}

async function read(body, tell) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const frames = (rest + value).split("\n\n");
    rest = frames.pop();
    for (const frame of frames) {
      const event = /^event: (.*)$/m.exec(frame);
      const data = /^data: (.*)$/m.exec(frame);
      if (event && data) tell(event[1], JSON.parse(data[1]));
    }
  }
}
