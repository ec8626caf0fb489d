// What the page does by itself: theme, language, citations, confirmations, dropped folders.
// It builds no HTML from text and shows none but what the server rendered.
(() => {
  const $ = (selector) => document.querySelector(selector);
  const keep = (key, value) => { try { localStorage.setItem(key, value) } catch { /* private mode */ } };
  const send = (element, detail) => element?.dispatchEvent(new CustomEvent("ragkit", { bubbles: true, detail }));

  // shell.py put the theme into the address for Gradio's start; nobody needs to see it.
  addEventListener("load", () => setTimeout(() => {
    const address = new URL(location);
    if (!address.searchParams.has("__theme")) return;
    address.searchParams.delete("__theme");
    history.replaceState(null, "", address);
  }, 1500));

  const switchTheme = () => {
    const dark = document.body.classList.toggle("dark");
    document.documentElement.style.background = getComputedStyle(document.body).backgroundColor;
    keep("ragkit-theme", dark ? "dark" : "light");
  };

  const switchLanguage = async (button) => {
    if ($("#chatbot .message") && !(await confirmed(button.dataset.confirm))) return;
    keep("ragkit-language", document.documentElement.lang === "en" ? "zh-CN" : "en");
    location.reload();
  };

  const confirmed = (text, label, danger = false) => new Promise((resolve) => {
    const dialog = $("#confirm"), yes = $("#confirm [value=yes]");
    $("#confirm-text").textContent = text;
    yes.textContent = label || yes.dataset.label;
    yes.classList.toggle("danger", danger);
    dialog.returnValue = "";
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
    dialog.showModal();
  });

  // ── Citations and their cards ──

  // "#src-turn", "#src-turn-number", or with the place of the sentence that a number stands behind.
  const partsOf = (link) => link.getAttribute("href").match(/^#src-(\w+)(?:-(\d+))?(?:-(\d+))?$/) ?? [];
  const cardOf = (link) => {
    const [, turn, number] = partsOf(link);
    return document.getElementById(`src-${turn}-${number}`);
  };

  // Of all that is marked in a card, light up what this one sentence rests on.
  const pick = (card, link) => {
    const at = partsOf(link)[3];
    let first;
    for (const mark of card.querySelectorAll("mark.cited")) {
      const lit = at !== undefined && (mark.dataset.at ?? "").split(" ").includes(at);
      mark.classList.toggle("lit", lit);
      if (lit) first ??= mark;
    }
    card.classList.toggle("picked", first !== undefined);
    return first;
  };

  const openCard = (card, link) => {
    for (const lit of document.querySelectorAll(".src-card.on, a.cite.on")) lit.classList.remove("on");
    link.classList.add("on");
    document.body.classList.add("sources-open");
    card.classList.add("on");
    const lit = pick(card, link);
    if (innerWidth <= 820) link.scrollIntoView({ block: "start" });  // the sheet will stand over the rest
    card.scrollIntoView({ block: "nearest", behavior: lit ? "instant" : "smooth" });
    lit?.scrollIntoView({ block: "nearest", behavior: "smooth" });
    card.focus({ preventScroll: true });
  };

  const toggleScore = (button) => {
    const parts = button.closest(".src-card").querySelector(".score-parts");
    parts.hidden = !parts.hidden;
    button.setAttribute("aria-expanded", String(!parts.hidden));
  };

  const followLink = (link) => {
    const [, turn, number] = partsOf(link);
    if (!turn) return;
    const shown = $(`[id^="src-${turn}-"]`);
    if (!shown) send($("#sources section"), { turn });  // an older answer: the server brings its sources back
    if (number) whenThere(() => cardOf(link), (card) => openCard(card, link));
    else document.body.classList.add("sources-open");
  };

  const whenThere = (find, act, tries = 60) => {
    const found = find();
    if (found) act(found);
    else if (tries) setTimeout(() => whenThere(find, act, tries - 1), 50);
  };

  const closeSources = () => document.body.classList.remove("sources-open");

  let preview;
  const hidePreview = () => { preview?.remove(); preview = undefined };
  const showPreview = (link) => {
    const card = cardOf(link);
    if (preview || !card || matchMedia("(hover: none)").matches) return;
    preview = card.cloneNode(true);
    preview.id = "preview";
    preview.classList.remove("on");
    pick(preview, link);
    document.body.append(preview);
    const at = link.getBoundingClientRect(), size = preview.getBoundingClientRect();
    const above = at.top - size.height - 8;
    preview.style.left = `${Math.max(8, Math.min(at.left, innerWidth - size.width - 8))}px`;
    preview.style.top = `${above > 8 ? above : at.bottom + 8}px`;
  };

  // Earlier messages come above the others: go to the last of them.
  const goToEarlier = () => {
    const box = $("#chatbot .bubble-wrap"), count = () => box.querySelectorAll(".message").length;
    const height = box.scrollHeight, before = count();
    const go = () => { box.scrollTop = box.scrollHeight - height - box.clientHeight / 2 };
    // Twice, because Gradio goes back to the end 300 ms after a change if it was there before.
    whenThere(() => count() > before, () => { go(); setTimeout(go, 350) });
  };

  // ── The passage in its document ──

  // The server renders the dialog; it is opened here, because only showModal() keeps the keyboard inside.
  const openView = () => {
    const dialog = $("#viewer dialog.view");
    if (!dialog || dialog.open) return;
    dialog.addEventListener("close", () => send(dialog, { action: "close" }), { once: true });
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close() });
    dialog.showModal();
    dialog.querySelector(".view-body :is(i, mark)")?.scrollIntoView({ block: "center" });
  };
  // Gradio's dropdown has no placeholder of its own.
  const sayEverywhere = () => {
    const input = $("#scope input"), dialog = $("#confirm");
    if (input && dialog && !input.placeholder) input.placeholder = dialog.dataset.everywhere;
  };
  // Its list of examples holds buttons, which no list may.
  const noList = () => $("#chatbot .examples[role=list]")?.setAttribute("role", "group");
  // The field that a question is edited in has no name.
  const nameEdit = () => {
    const field = $("#chatbot .edit-textarea:not([aria-label])");
    if (!field) return;
    field.setAttribute("aria-label", $("#ask textarea").placeholder);
    field.parentElement.dataset.note = $("#confirm").dataset.edit;
  };
  const nameStop = () => {
    const button = $("#ask .stop-button:not([aria-label])"), dialog = $("#confirm");
    if (button && dialog) button.ariaLabel = button.title = dialog.dataset.stop;
  };
  new MutationObserver(() => { openView(); sayEverywhere(); noList(); nameEdit(); nameStop() }).observe(document.documentElement, { childList: true, subtree: true });

  // How much stands above the chat: the bar, the tabs, and an alert when there is one.
  const measure = () => {
    const tabs = $("#tabs > .tab-wrapper");
    if (tabs) document.documentElement.style.setProperty("--above", `${Math.round(tabs.getBoundingClientRect().bottom + scrollY) + 16}px`);
  };
  addEventListener("resize", measure);
  whenThere(() => $("#tabs > .tab-wrapper") && $("#top"), (top) => new ResizeObserver(measure).observe(top), 600);

  // The badge is only as true as the last time that the server answered.
  let silent;
  const heard = (is) => {
    if (is) { clearTimeout(silent); silent = undefined; $("#gone").hidden = true }
    else silent ??= setTimeout(() => { $("#gone").hidden = false }, 1500);  // not while the page is being left
  };
  const ask = window.fetch.bind(window);
  window.fetch = async (...what) => {
    try {
      const answer = await ask(...what);
      if (silent) heard(true);
      return answer;
    } catch (error) {
      if (error.name === "TypeError") heard(false);
      throw error;
    }
  };

  // ── Clicks, keys, drops ──

  addEventListener("click", (event) => {
    const on = (selector) => event.target.closest?.(selector);
    const link = on("a.cite, a.cite-all");
    if (link) {
      event.preventDefault();
      event.stopPropagation();
      hidePreview();
      return followLink(link);
    }
    if (on("#ask .submit-button") && isBlank()) return event.stopPropagation();
    if (event.isTrusted && !on("#sources-column, dialog")) closeSources();
    if (on(".src-score")) return toggleScore(on(".src-score"));
    const card = !on(".src-open, .score-parts") && on(".src-card");
    if (card && !getSelection().toString()) { card.classList.toggle("on"); card.classList.remove("picked") }
    if (on("#earlier")) return goToEarlier();
    if (on("#theme")) return switchTheme();
    if (on("#language")) return switchLanguage(on("#language"));
    if (on("dialog.view [data-action=close]")) return on("dialog.view").close();
    if (on("#choose-folder")) return $("#chosen-folder").click();
    if (on("#close-sheet")) return closeSources();
    if (on("[data-close]")) return void (on(".job").hidden = true);
    if (actionOf(event) !== released) act(actionOf(event));  // by keyboard or a screen reader
  }, true);

  // A button may be painted anew between press and release, and then there is no click: a job's progress
  // comes three times a second. So both ends are matched by what the button says, not by the element.
  const actionOf = (event) => event.target.closest?.("button[data-action]");
  let pressed, released;
  addEventListener("pointerdown", (event) => { pressed = event.button === 0 ? actionOf(event) : undefined }, true);
  addEventListener("pointerup", (event) => {
    const button = actionOf(event);
    const same = (key) => button.dataset[key] === pressed.dataset[key];
    if (!button || !pressed || !same("action") || !same("id")) return;
    released = button;  // its click, which follows at once if it comes at all, is this same one
    setTimeout(() => { released = undefined }, 200);
    act(button);
  }, true);

  const act = async (button) => {
    if (!button) return;
    const { action, id, confirm } = button.dataset;
    if (confirm && !(await confirmed(confirm, button.title, ["delete", "discard"].includes(action)))) return;
    // What holds the button may have been painted anew while the dialog was open.
    const again = () => $(`button[data-action="${action}"]${id ? `[data-id="${CSS.escape(id)}"]` : ""}`);
    send(button.isConnected ? button : again() ?? $("#documents .docs-frame"), { action, id });
  };

  const isBlank = () => !$("#ask textarea").value.trim();
  addEventListener("keypress", (event) => {
    if (event.key !== "Enter" || event.shiftKey || !event.target.matches?.("#ask textarea")) return;
    $("a.cite.on")?.classList.remove("on");
    if (!isBlank()) return;
    event.preventDefault();  // Gradio would send an empty question
    event.stopPropagation();
  }, true);

  addEventListener("keydown", (event) => {
    const box = $("#ask textarea"), typing = event.target.matches?.("input, textarea, select, [contenteditable]");
    if (event.key === "Escape" && !$("dialog[open]")) {
      if (!document.body.classList.contains("sources-open")) $("#ask .stop-button")?.click();
      closeSources();
      hidePreview();
    }
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && box?.checkVisibility()) {
      event.preventDefault();
      box.focus();
    }
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target === box && !isBlank()) {
      event.preventDefault();
      $("#ask .submit-button")?.click();
    }
    if (event.key === "Enter" && event.target.matches?.(".src-card")) event.target.classList.toggle("on");
  });

  addEventListener("mouseover", (event) => {
    const link = event.target.closest?.("a.cite");
    if (link) showPreview(link); else hidePreview();
  });

  // ── Folders ──

  // Gradio drops folders from the name of a file. So the server is told first what each file is called, and then
  // gets them under short names through the same drop zone, as many at a time as fit into a request.
  const BATCH = 500, LARGEST = 1e9;  // app.py: MAX_FILE_SIZE, which would cost the whole batch
  const POLL_MS = 100, PATIENCE = 300;
  const input = () => $("#drop input[type=file]");  // not there while Gradio uploads
  const until = async (find) => {
    for (let idle = 0; idle < PATIENCE; idle = input() ? idle + 1 : 0) {
      if (find()) return true;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    return false;
  };

  const walk = async (entry, folder, found) => {
    if (entry.name.startsWith(".")) return;
    const path = folder + entry.name;
    try {
      if (entry.isFile) return found.files.push([path, await new Promise((...to) => entry.file(...to))]);
      const reader = entry.createReader();
      for (;;) {  // it gives a hundred at a time, and none when all were given
        const entries = await new Promise((...to) => reader.readEntries(...to));
        if (!entries.length) return;
        for (const one of entries) await walk(one, `${path}/`, found);
      }
    } catch { found.whole = false }
  };

  const upload = async (files) => {
    const run = Math.random().toString(36).slice(2);
    let whole = true;
    for (let at = 0; whole && at < files.length; at += BATCH) {
      const some = files.slice(at, at + BATCH), batch = `${run}-${at}`, carrier = new DataTransfer();
      const isNow = (state) => $(`#parcel [data-batch="${batch}"][data-state=${state}]`);
      send($("#parcel i"), { action: "announce", batch, total: `${files.length}`, paths: some.map(([path]) => path) });
      some.forEach(([, file], n) => carrier.items.add(new File([file], `${batch}-${n}`)));
      whole = await until(() => isNow("announced") && input());
      if (!whole) break;
      input().files = carrier.files;
      input().dispatchEvent(new Event("change"));
      whole = await until(() => isNow("here"));
    }
    send($("#parcel i"), { action: "unpack" });
    return whole;
  };

  let uploads = Promise.resolve();  // one folder after the other
  const takeFolders = (finding) => {
    uploads = uploads.then(async () => {
      const { files, whole } = await finding;
      const large = files.filter(([, file]) => file.size > LARGEST).map(([path]) => path);
      const fit = files.filter(([, file]) => file.size <= LARGEST);
      const came = !fit.length || await upload(fit);
      $("#drop-large").hidden = !large.length;
      $("#drop-large span").textContent = large.slice(0, 8).join(", ") + (large.length > 8 ? " …" : "");
      $("#drop-folder").hidden = whole && came && !large.length;
    });
  };

  addEventListener("change", (event) => {
    if (event.target.id !== "chosen-folder") return;
    const files = [...event.target.files].map((file) => [file.webkitRelativePath, file]);
    event.target.value = "";
    takeFolders({ files: files.filter(([path]) => !/(^|\/)\./.test(path)), whole: true });
  });

  // Gradio makes an emptied number the least that is possible, and shows 2.7 where whole numbers hold.
  const numberOf = (event) => event.target.matches?.("#answers-column input[type=number]") && event.target;
  addEventListener("focusin", (event) => { if (numberOf(event)) event.target.dataset.held = event.target.value });
  addEventListener("blur", (event) => {  // before Gradio hears of it
    const number = numberOf(event);
    const whole = number && Number.isInteger(+number.step) && number.value.includes(".");
    if (!number || number.value && !whole) return;
    number.value = number.value ? Math.trunc(number.value) : number.dataset.held;
    number.dispatchEvent(new InputEvent("input", { bubbles: true }));
  }, true);

  const dropZone = (event) => event.target.closest?.("#drop");
  const astray = (event) => !dropZone(event) && event.dataTransfer.types.includes("Files");
  addEventListener("dragover", (event) => { if (astray(event)) event.preventDefault() });
  addEventListener("drop", (event) => {
    if (astray(event)) event.preventDefault();  // else the browser would show the file instead of the page
    if (!dropZone(event)) return;
    $("#drop-folder").hidden = true;
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (!entries.some((entry) => entry.isDirectory)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    dropZone(event).dispatchEvent(new DragEvent("dragleave", { bubbles: true }));
    const found = { files: [], whole: true };
    takeFolders(Promise.all(entries.map((entry) => walk(entry, "", found))).then(() => found));
  }, true);

  // Gradio's copy button copies a message as it was sent, with our links and character references in it.
  const clipboard = navigator.clipboard;
  const write = clipboard?.writeText?.bind(clipboard);
  if (write) clipboard.writeText = (text) => {
    const plain = text
      .replace(/\u00a0?<a href="#src-[\w-]+" class="cite"[^>]*>(\d+)<\/a>/g, " [$1]")
      .replace(/<span class="unsupported">([^<]*(?:<(?!\/span>)[^<]*)*)<\/span>/g, "$1")
      .replace(/\s*<(span|a)\b[^>]*class="(?:note|cite-all|doubt)[^>]*>[^<]*<\/\1>/g, "");
    return write(new DOMParser().parseFromString(plain.replace(/</g, "&lt;"), "text/html").documentElement.textContent);
  };
})();
