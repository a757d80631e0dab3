// SPDX-License-Identifier: GPL-2.0-only
/*
 * QEMU's educational device: a DMA engine that copies up to 4 KiB between the
 * host's memory and a buffer inside the device. What it finds behind a DMA
 * address is what any device would find there.
 */
#include <linux/delay.h>
#include <linux/interrupt.h>
#include <linux/ktime.h>
#include <linux/slab.h>

#include "adp_test.h"

#define EDU_ID			0x00
#define EDU_ID_MASK		0xffff
#define EDU_ID_VALUE		0x00ed
#define EDU_IRQ_STATUS		0x24
#define EDU_IRQ_ACK		0x64
#define EDU_DMA_SRC		0x80
#define EDU_DMA_DST		0x88
#define EDU_DMA_COUNT		0x90
#define EDU_DMA_CMD		0x98
#define EDU_DMA_RUN		BIT(0)
#define EDU_DMA_TO_HOST		BIT(1)
#define EDU_DMA_IRQ		BIT(2)
#define EDU_IRQ_DMA		BIT(8)

#define EDU_TIMEOUT_MS		5000

static irqreturn_t adp_edu_irq(int irq, void *data)
{
	struct adp_dev *adp = data;
	u32 status = readl(adp->bar + EDU_IRQ_STATUS);

	if (!status)
		return IRQ_NONE;

	writel(status, adp->bar + EDU_IRQ_ACK);
	atomic_inc(&adp->irqs[status & EDU_IRQ_DMA ? 1 : 0]);
	complete(&adp->irq_done);
	return IRQ_HANDLED;
}

/*
 * The kernel's own books of interrupts warn when memory lacks for them. They are not
 * what adp_nth.sh wants to see fail. Return: what adp_faults_back() is to be given.
 */
static unsigned int adp_faults_away(void)
{
	unsigned int nth = 0;

#ifdef CONFIG_FAULT_INJECTION
	nth = current->fail_nth;
	current->fail_nth = 0;
#endif
	return nth;
}

static void adp_faults_back(unsigned int nth)
{
#ifdef CONFIG_FAULT_INJECTION
	current->fail_nth = nth;
#endif
}

static int adp_edu_irq_get(struct adp_dev *adp)
{
	struct pci_dev *pdev = adp->pdev;
	int ret;

	ret = pci_alloc_irq_vectors(pdev, 1, 1, PCI_IRQ_MSI);
	if (ret < 0)
		return dev_err_probe(adp->dev, ret, "no MSI\n");

	ret = request_irq(pci_irq_vector(pdev, 0), adp_edu_irq, 0, "adp_test",
			  adp);
	if (ret)
		pci_free_irq_vectors(pdev);
	return ret;
}

static void adp_edu_irq_put(struct adp_dev *adp)
{
	unsigned int nth = adp_faults_away();

	free_irq(pci_irq_vector(adp->pdev, 0), adp);
	pci_free_irq_vectors(adp->pdev);
	adp_faults_back(nth);
}

int adp_edu_init(struct adp_dev *adp)
{
	u32 id = readl(adp->bar + EDU_ID);
	unsigned int nth;
	int ret;

	if ((id & EDU_ID_MASK) != EDU_ID_VALUE)
		return dev_err_probe(adp->dev, -ENODEV,
				     "identification 0x%08x is not edu's\n", id);

	init_completion(&adp->irq_done);
	nth = adp_faults_away();
	ret = adp_edu_irq_get(adp);
	adp_faults_back(nth);
	if (ret)
		return ret;

	adp->staging = dma_alloc_coherent(adp->dev, ADP_EDU_BUF_SIZE,
					  &adp->staging_dma, GFP_KERNEL);
	if (!adp->staging) {
		adp_edu_irq_put(adp);
		return dev_err_probe(adp->dev, -ENOMEM, "no staging buffer\n");
	}
	return 0;
}

void adp_edu_exit(struct adp_dev *adp)
{
	dma_free_coherent(adp->dev, ADP_EDU_BUF_SIZE, adp->staging,
			  adp->staging_dma);
	adp_edu_irq_put(adp);
}

/* One transfer between @dma and the device's own buffer at @pos. */
int adp_edu_dma(struct adp_dev *adp, dma_addr_t dma, u32 pos, u32 len,
		bool to_host, bool irq)
{
	u64 own = ADP_EDU_BUF + pos;
	u64 cmd = EDU_DMA_RUN;
	unsigned int tries = 0;
	ktime_t limit;

	if (to_host)
		cmd |= EDU_DMA_TO_HOST;
	if (irq)
		cmd |= EDU_DMA_IRQ;

	writeq(to_host ? own : dma, adp->bar + EDU_DMA_SRC);
	writeq(to_host ? dma : own, adp->bar + EDU_DMA_DST);
	writel(len, adp->bar + EDU_DMA_COUNT);
	writel(cmd, adp->bar + EDU_DMA_CMD);

	limit = ktime_add_ms(ktime_get(), EDU_TIMEOUT_MS);
	while (readl(adp->bar + EDU_DMA_CMD) & EDU_DMA_RUN) {
		if (ktime_after(ktime_get(), limit))
			return -ETIMEDOUT;
		/* It is done at once, or takes 100 ms. */
		if (tries++ < 20)
			usleep_range(20, 100);
		else
			usleep_range(4000, 5000);
	}
	return 0;
}

/* Copies what the device finds at @dma into @buf. */
int adp_dev_read(struct adp_dev *adp, dma_addr_t dma, void *buf, u32 len)
{
	int ret;

	mutex_lock(&adp->engine);
	memset(adp->staging, 0x5a, len);
	dma_wmb();
	ret = adp_edu_dma(adp, dma, 0, len, false, false);
	if (!ret)
		ret = adp_edu_dma(adp, adp->staging_dma, 0, len, true, false);
	dma_rmb();
	memcpy(buf, adp->staging, len);
	mutex_unlock(&adp->engine);
	return ret;
}

/* Makes the device write @buf to @dma. */
int adp_dev_write(struct adp_dev *adp, dma_addr_t dma, const void *buf, u32 len)
{
	int ret;

	mutex_lock(&adp->engine);
	memcpy(adp->staging, buf, len);
	dma_wmb();
	ret = adp_edu_dma(adp, adp->staging_dma, 0, len, false, false);
	if (!ret)
		ret = adp_edu_dma(adp, dma, 0, len, true, false);
	mutex_unlock(&adp->engine);
	return ret;
}

/* Lets the device read up to ADP_TAGS short pieces, and returns them. */
int adp_dev_gather(struct adp_dev *adp, const dma_addr_t *dma, const u8 *len,
		   u64 *tags, unsigned int n)
{
	unsigned int i;
	int ret = 0;

	mutex_lock(&adp->engine);
	memset(adp->staging, 0, ADP_EDU_BUF_SIZE);
	dma_wmb();
	/* The rest of each piece is 0, whatever was in the device before. */
	ret = adp_edu_dma(adp, adp->staging_dma, 0, ADP_EDU_BUF_SIZE, false,
			  false);
	for (i = 0; i < n && !ret; i++)
		ret = adp_edu_dma(adp, dma[i], i * ADP_TAG_SIZE, len[i], false,
				  false);
	if (!ret)
		ret = adp_edu_dma(adp, adp->staging_dma, 0, n * ADP_TAG_SIZE,
				  true, false);
	dma_rmb();
	memcpy(tags, adp->staging, n * ADP_TAG_SIZE);
	mutex_unlock(&adp->engine);
	return ret;
}

/* Lets the device write up to ADP_TAGS short pieces. */
int adp_dev_scatter(struct adp_dev *adp, const dma_addr_t *dma, const u8 *len,
		    const u64 *tags, unsigned int n)
{
	unsigned int i;
	int ret;

	mutex_lock(&adp->engine);
	memcpy(adp->staging, tags, n * ADP_TAG_SIZE);
	dma_wmb();
	ret = adp_edu_dma(adp, adp->staging_dma, 0, n * ADP_TAG_SIZE, false,
			  false);
	for (i = 0; i < n && !ret; i++)
		ret = adp_edu_dma(adp, dma[i], i * ADP_TAG_SIZE, len[i], true,
				  false);
	mutex_unlock(&adp->engine);
	return ret;
}

/* splitmix64: neighbouring inputs give unrelated words. */
static u64 adp_mix(u64 x)
{
	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static u8 adp_byte(u64 seed, u64 pos)
{
	return adp_mix(seed ^ (pos >> 3)) >> (8 * (pos & 7));
}

/* Writes the bytes of stream @seed from @pos on. */
void adp_fill(void *buf, size_t len, u64 seed, u64 pos)
{
	u8 *p = buf;
	size_t i = 0;

	while (i < len) {
		u64 word = adp_mix(seed ^ ((pos + i) >> 3)) >>
			   (8 * ((pos + i) & 7));
		size_t n = min_t(size_t, len - i, 8 - ((pos + i) & 7));

		/* Bytes one by one take most of the time where KASAN looks at each. */
		if (n == 8) {
			__le64 whole = cpu_to_le64(word);

			memcpy(p + i, &whole, 8);
			i += 8;
			continue;
		}
		while (n--) {
			p[i++] = word;
			word >>= 8;
		}
	}
}

/* Are these the bytes that adp_fill() writes? @where tells the first wrong. */
bool adp_same(const void *buf, size_t len, u64 seed, u64 pos, size_t *where)
{
	const u8 *p = buf;
	size_t i = 0;

	while (i < len) {
		u64 word = adp_mix(seed ^ ((pos + i) >> 3)) >>
			   (8 * ((pos + i) & 7));
		size_t n = min_t(size_t, len - i, 8 - ((pos + i) & 7));
		__le64 whole;

		if (n == 8) {
			memcpy(&whole, p + i, 8);
			if (le64_to_cpu(whole) == word) {
				i += 8;
				continue;
			}
		}
		for (; n--; i++, word >>= 8) {
			if (p[i] == (u8)word)
				continue;
			if (where)
				*where = i;
			return false;
		}
	}
	return true;
}

/* Does the device find the bytes of stream @seed at @dma? */
bool adp_dev_holds(struct adp_run *run, dma_addr_t dma, size_t len, u64 seed,
		   u64 pos)
{
	u8 *buf = kmalloc(ADP_EDU_BUF_SIZE, GFP_KERNEL);
	size_t off, where;
	bool ok = false;

	if (!buf) {
		adp_fail(run, "no memory");
		return false;
	}

	for (off = 0; off < len; off += ADP_EDU_BUF_SIZE) {
		u32 n = min_t(size_t, len - off, ADP_EDU_BUF_SIZE);
		int ret = adp_dev_read(run->adp, dma + off, buf, n);

		if (ret) {
			adp_fail(run, "device read at %pad: %d", &dma, ret);
			goto out;
		}
		if (!adp_same(buf, n, seed, pos + off, &where)) {
			adp_fail(run,
				 "device finds 0x%02x, not 0x%02x, at byte %zu of %zu behind %pad",
				 buf[where],
				 adp_byte(seed, pos + off + where),
				 off + where, len, &dma);
			goto out;
		}
	}
	ok = true;
out:
	kfree(buf);
	return ok;
}

/* Makes the device write the bytes of stream @seed to @dma. */
bool adp_dev_fill(struct adp_run *run, dma_addr_t dma, size_t len, u64 seed,
		  u64 pos)
{
	u8 *buf = kmalloc(ADP_EDU_BUF_SIZE, GFP_KERNEL);
	bool ok = false;
	size_t off;

	if (!buf) {
		adp_fail(run, "no memory");
		return false;
	}

	for (off = 0; off < len; off += ADP_EDU_BUF_SIZE) {
		u32 n = min_t(size_t, len - off, ADP_EDU_BUF_SIZE);
		int ret;

		adp_fill(buf, n, seed, pos + off);
		ret = adp_dev_write(run->adp, dma + off, buf, n);
		if (ret) {
			adp_fail(run, "device write at %pad: %d", &dma, ret);
			goto out;
		}
	}
	ok = true;
out:
	kfree(buf);
	return ok;
}
