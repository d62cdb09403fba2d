// Uploads files one after the other, asks what became of them, and shows it. All text goes into the
// page as text, never as HTML.
const find = (id) => document.getElementById(id);
const POLL_MS = 2000;
const MIB = 1024 * 1024;
const STATES = {
  uploading: "Not started", queued: "Waiting", answering: "Being answered", done: "Answered",
  failed: "Not answered",
};

const WORDS = {
  classified: "", flagged: "with reservations", abstained: "the program abstains",
};

async function ask(method, path, body) {
  const headers = method === "GET" ? {} : { "X-Covidctnet": "1" };
  let answer;
  try {
    answer = await fetch(path, { method, body, headers, credentials: "same-origin" });
  } catch {
    throw new Error("The page does not answer. Is its program still running?");
  }
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    const error = new Error(told.message || `The page answered with status ${answer.status}.`);
    error.status = answer.status;
    throw error;
  }
  return told;
}

function complain(error) {
  find("problem").textContent = error ? error.message : "";
  find("problem").hidden = !error;
}

let sending = false;

async function send(files) {
  if (sending || !files.length) return;
  sending = true;
  complain(null);
  const bar = find("bar");
  let job;
  try {
    job = await ask("POST", "/jobs");
    bar.hidden = false;
    let number = 0;
    for (const file of files) {
      find("sending").textContent = `Sending file ${++number} of ${files.length}`;
      bar.value = number / files.length;
      if (file.size) await ask("PUT", `/jobs/${job.id}/files`, file);
    }
    await ask("POST", `/jobs/${job.id}/start`);
    find("sending").textContent = files.length === 1 ? "Sent 1 file." : `Sent ${files.length} files.`;
  } catch (error) {
    complain(error);
    find("sending").textContent = "";
    if (job) await ask("DELETE", `/jobs/${job.id}`).catch(() => {});
  } finally {
    sending = false;
    bar.hidden = true;
    find("folder").value = find("files").value = "";
    await refresh();
  }
}

const scripts = new Map();

function load(source) {
  if (!scripts.has(source)) {
    scripts.set(source, new Promise((done, fail) => {
      const script = document.createElement("script");
      script.src = source;
      script.onload = done;
      script.onerror = () => { scripts.delete(source); fail(new Error("the viewer did not load")); };
      document.head.append(script);
    }));
  }
  return scripts.get(source);
}

const shown = new Map();

function drawJob(job) {
  const item = find("job").content.cloneNode(true).firstElementChild;
  item.querySelector(".remove").addEventListener("click", async () => {
    await ask("DELETE", `/jobs/${job.id}`).catch(complain);
    await refresh();
  });
  return item;
}

function fill(item, job) {
  item.querySelector(".state").textContent = STATES[job.state] || job.state;
  const when = new Date(job.made_s * 1000).toLocaleString();
  const size = (job.bytes / MIB).toFixed(job.bytes < 10 * MIB ? 1 : 0);
  const place = job.state === "queued" ? `, ${job.before} before it` : "";
  item.querySelector(".about").textContent =
    `${when}: ${job.files} ${job.files === 1 ? "file" : "files"}, ${size} MiB${place}`;
  item.querySelector(".message").textContent = job.message;
  item.querySelector(".remove").disabled = job.state === "answering";
}

function drawAnswer(job, answer) {
  const part = find("answer").content.cloneNode(true).firstElementChild;
  part.querySelector("h3").textContent = `Study ${answer.study}`;
  const isAnswered = answer.probabilities && Object.keys(answer.probabilities).length > 0;
  part.querySelector(".verdict").textContent = isAnswered
    ? [answer.label || "No single class", WORDS[answer.status]].filter(Boolean).join(": ")
    : `No answer (${answer.code})`;
  const bars = part.querySelector(".bars");
  const titles = answer.titles || [];
  Object.entries(answer.probabilities || {}).forEach(([key, value], number) => {
    const name = document.createElement("dt");
    name.textContent = titles[number] || key;
    const cell = document.createElement("dd");
    cell.className = "track";
    const bar = document.createElement("span");
    bar.className = `class-${number}`;
    bar.style.width = `${100 * value}%`;
    cell.append(bar);
    const figure = document.createElement("dd");
    figure.className = "num";
    figure.textContent = value.toFixed(3);
    bars.append(name, cell, figure);
  });
  part.querySelector(".facts").textContent = answer.message || "";
  if (answer.picture) {
    const figure = part.querySelector("figure");
    const image = figure.querySelector("img");
    image.src = `/jobs/${job.id}/pictures/${encodeURIComponent(answer.study)}`;
    image.alt = `Study ${answer.study}: top slices`;
    figure.hidden = false;
  }
  const files = answer.volumes || [];
  const view = part.querySelector(".view");
  view.hidden = !files.includes("scan");
  let opened = null;
  const look = async (z) => {
    if (!opened) {
      view.disabled = true;
      try {
        await load("/static/niivue.umd.js");
        await load("/static/viewer.js");
        const base = `/jobs/${job.id}/volumes/${answer.study}`;
        opened = await window.covidctnetViewer.show(
          part.querySelector(".viewer"), files.map((name) => ({ name, url: `${base}/${name}.nii.gz` })));
        view.hidden = true;
      } catch (error) {
        complain(new Error(`The scan cannot be shown here (${error?.message || "the viewer failed"}). WebGL 2 is needed.`));
        view.disabled = false;
        return;
      }
    }
    opened.go(z);
  };
  view.addEventListener("click", () => look());
  if (!view.hidden && answer.slice_mm?.length) {
    const caption = part.querySelector("figcaption");
    caption.append(" Look at z = ");
    for (const mm of answer.slice_mm) {
      const height = document.createElement("button");
      height.type = "button";
      height.className = "height num";
      height.textContent = mm.toFixed(0);
      height.addEventListener("click", () => look(mm));
      caption.append(height, " ");
    }
    caption.append("mm.");
  }
  const links = part.querySelector(".files");
  for (const name of answer.files || []) {
    const link = document.createElement("a");
    link.href = `/jobs/${job.id}/files/${answer.study}/${name}`;
    link.download = name;
    link.textContent = name;
    links.append(link, " ");
  }
  links.parentElement.hidden = !(answer.files || []).length;
  return part;
}

async function refresh() {
  let jobs;
  try {
    jobs = await ask("GET", "/jobs");
  } catch (error) {
    if (error.status === 401) { find("work").hidden = true; find("token").hidden = false; return; }
    complain(error);
    return;
  }
  find("token").hidden = true;
  find("work").hidden = false;
  find("none").hidden = jobs.length > 0;
  const list = find("jobs");
  const ids = new Set(jobs.map((job) => job.id));
  for (const [id, entry] of shown) {
    if (!ids.has(id)) { entry.item.remove(); shown.delete(id); }
  }
  let before = null;
  for (const job of jobs) {
    let entry = shown.get(job.id);
    if (!entry) {
      entry = { item: drawJob(job), state: "" };
      shown.set(job.id, entry);
      if (before) before.after(entry.item); else list.prepend(entry.item);
    }
    before = entry.item;
    fill(entry.item, job);
    if (job.state === "done" && entry.state !== "done") {
      const whole = await ask("GET", `/jobs/${job.id}`);
      const answers = (whole.answers || []).map((answer) => drawAnswer(job, answer));
      entry.item.querySelector(".answers").replaceChildren(...answers);
      for (const kind of ["csv", "json"]) {
        entry.item.querySelector(`.${kind}`).href = `/jobs/${job.id}/results.${kind}`;
      }
      entry.item.querySelector(".downloads").hidden = answers.length === 0;
    }
    entry.state = job.state;
  }
}

async function loop() {
  if (!find("work").hidden && !sending) await refresh();
  setTimeout(loop, POLL_MS);
}

find("folder").addEventListener("change", (event) => send([...event.target.files]));
find("files").addEventListener("change", (event) => send([...event.target.files]));
find("token").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await ask("POST", "/token", JSON.stringify({ token: find("token-field").value }));
    complain(null);
    await refresh();
  } catch (error) {
    complain(error);
  }
});
const drop = find("drop");
for (const name of ["dragover", "dragleave", "drop"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragover");
    if (name === "drop") send([...event.dataTransfer.files]);
  });
}
await refresh();
loop();
