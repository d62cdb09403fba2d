// Opens a scan on a page that lies as a file: loads the viewer and the copy of the study as scripts.
(() => {
  const waiting = new Map(), loaded = new Map();
  const viewer = document.querySelector("main").dataset.viewer;
  let opened = null;

  // What the script of a study calls.
  window.covidctnetVolumes = (study, volumes) => { waiting.get(study)?.(volumes); };

  const load = (source) => new Promise((done, fail) => {
    const script = document.createElement("script");
    script.src = source;
    script.onload = () => { script.remove(); done(); };
    script.onerror = () => fail(new Error(`${source} is not there. Keep the folder of this page together`));
    document.head.append(script);
  });
  const once = (source) => {
    if (!loaded.has(source)) {
      const coming = load(source);
      loaded.set(source, coming);
      coming.catch(() => loaded.delete(source));
    }
    return loaded.get(source);
  };
  const volumesOf = (button) => new Promise((done, fail) => {
    waiting.set(button.dataset.study, done);
    load(button.dataset.volumes).catch(fail);
  });
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;

  const close = () => {
    if (!opened) return;
    opened.close();
    opened.button.hidden = false;
    opened = null;
  };
  const open = async (button, z) => {
    const part = button.closest("td").querySelector(".viewer");
    if (opened?.button === button) { opened.go(z); return; }
    button.disabled = true;
    try {
      await once(`${viewer}niivue.umd.js`);
      await once(`${viewer}viewer.js`);
      const volumes = await volumesOf(button);
      close();
      part.textContent = "";
      const shown = await window.covidctnetViewer.show(
        part, Object.entries(volumes).map(([name, text]) => ({ name, buffer: bytes(text) })));
      opened = { button, ...shown };
      button.hidden = true;
      if (z !== undefined) opened.go(z);
    } catch (error) {
      part.textContent = `The scan cannot be shown here: ${error?.message || "the viewer failed"}. WebGL 2 is needed.`;
    } finally {
      waiting.delete(button.dataset.study);
      button.disabled = false;
    }
  };
  for (const button of document.querySelectorAll("button.view")) {
    button.addEventListener("click", () => open(button));
    for (const height of button.closest("td").querySelectorAll("button.height")) {
      height.addEventListener("click", () => open(button, Number(height.dataset.z)));
    }
  }
})();
